//! Q8_0 as bytes: blocks of an f16 scale and 32 signed bytes, row after row. The same layout as GGUF's.

use candle_core::{
    Device, Tensor,
    quantized::{GgmlDType, QTensor},
};
use half::f16;

use super::Result;

/// Values in a block.
pub(super) const GROUP: usize = 32;
/// Bytes of a block.
pub(super) const BLOCK: usize = 2 + GROUP;

/// Bytes of a row of `k` values; `k` is a multiple of [`GROUP`].
pub(super) fn row_bytes(k: usize) -> usize {
    k / GROUP * BLOCK
}

/// Whether the fast kernels take a matrix of `n` rows and `k` columns; they give a row the same bits in every batch.
pub(super) fn is_fast(n: usize, k: usize) -> bool {
    k.is_multiple_of(256) && n.is_multiple_of(16)
}

/// Blocks of a matrix of `k` columns, a multiple of [`GROUP`].
pub(super) fn quantize(values: &[f32], k: usize) -> Result<Vec<u8>> {
    let tensor = Tensor::from_slice(values, (values.len() / k, k), &Device::Cpu)?;
    Ok(QTensor::quantize(&tensor, GgmlDType::Q8_0)?.data()?.into_owned())
}

/// Values of whole blocks, appended to `out`.
pub(super) fn dequantize(blocks: &[u8], out: &mut Vec<f32>) {
    out.reserve(blocks.len() / BLOCK * GROUP);
    for block in blocks.chunks_exact(BLOCK) {
        let (scale, values) = block.split_at(2);
        let scale = <[u8; 2]>::try_from(scale).map_or(0.0, |b| f16::from_le_bytes(b).to_f32());
        out.extend(values.iter().map(|v| f32::from(i8::from_le_bytes([*v])) * scale));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_within_half_a_step() {
        let values: Vec<f32> = (0..128).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        let blocks = quantize(&values, 64).unwrap();
        assert_eq!(blocks.len(), 2 * row_bytes(64));
        let mut back = Vec::new();
        dequantize(&blocks, &mut back);
        assert!(values.iter().zip(&back).all(|(a, b)| (a - b).abs() <= 3.0 / 127.0 * 0.57));
    }
}
