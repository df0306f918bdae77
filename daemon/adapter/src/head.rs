//! The frozen head W of the backbone, as the model kit ships it: Q8_0 rows.

use crate::error::{AdapterError, Result};
use aside_codec::{BLOCK_BYTES, GROUP, widen};
use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module, Tensor};
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

/// Rows of W widened at once.
const BLOCK_ROWS: usize = 4096;
/// Positions from which logits are worth widening W for.
const MANY: usize = 16;

/// W (V x H), public and frozen.
pub struct Head {
    rows: Arc<QTensor>,
    /// Computes as the cloud does, bit for bit; where the fast kernels do not fit, W widened, once it is needed.
    serve: Option<QMatMul>,
    wide: OnceLock<Tensor>,
    vocab: usize,
    hidden: usize,
}

impl Head {
    /// From raw Q8_0 rows, `vocab * hidden / 32` blocks. Where the fast kernels fit (hidden % 256 == 0 and
    /// vocab % 16 == 0) logits are computed as the cloud does, bit for bit; elsewhere from widened rows.
    ///
    /// # Errors
    /// [`AdapterError::Shape`] when the length does not match the sizes.
    pub fn from_q8_0(bytes: &[u8], vocab: usize, hidden: usize) -> Result<Self> {
        let expected = vocab.checked_mul(hidden / GROUP).and_then(|n| n.checked_mul(BLOCK_BYTES));
        if hidden == 0 || !hidden.is_multiple_of(GROUP) || vocab == 0 || expected != Some(bytes.len()) {
            return Err(AdapterError::Shape(format!(
                "a head of {vocab} x {hidden} does not fit into {} bytes",
                bytes.len()
            )));
        }
        let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, GgmlDType::Q8_0)?;
        let rows = Arc::new(QTensor::new(storage, (vocab, hidden))?);
        let exact = hidden.is_multiple_of(256) && vocab.is_multiple_of(16);
        let serve = exact.then(|| QMatMul::QTensor(Arc::clone(&rows)));
        Ok(Self { rows, serve, wide: OnceLock::new(), vocab, hidden })
    }

    /// V.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// H.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// W h for `n` hidden states (`n * hidden` values): `n * vocab` logits.
    ///
    /// # Errors
    /// [`AdapterError::Shape`] when the length is no multiple of `hidden`.
    pub fn logits(&self, h: &[f32]) -> Result<Vec<f32>> {
        if h.is_empty() || !h.len().is_multiple_of(self.hidden) {
            return Err(AdapterError::Shape(format!(
                "{} values are no hidden states of {}",
                h.len(),
                self.hidden
            )));
        }
        let n = h.len() / self.hidden;
        if self.serve.is_none() && self.wide.get().is_none() && n >= MANY {
            return self.logits_by_blocks(h);
        }
        let h = Tensor::from_slice(h, (n, self.hidden), &Device::Cpu)?;
        let logits = match &self.serve {
            Some(serve) => serve.forward(&h)?,
            None => h.matmul(&self.wide()?.t()?)?,
        };
        Ok(logits.flatten_all()?.to_vec1()?)
    }

    /// As [`Self::logits`] by f32 products with some rows of W at a time, so that W is never there whole.
    pub(crate) fn logits_by_blocks(&self, h: &[f32]) -> Result<Vec<f32>> {
        let n = h.len() / self.hidden;
        let h = Tensor::from_slice(h, (n, self.hidden), &Device::Cpu)?;
        let mut logits = vec![0.0; n * self.vocab];
        self.each_block(|first, block| {
            let count = block.dim(0)?;
            let part = h.matmul(&block.t()?)?.flatten_all()?.to_vec1::<f32>()?;
            for (to, from) in logits.chunks_exact_mut(self.vocab).zip(part.chunks_exact(count)) {
                if let Some(to) = to.get_mut(first..first + count) {
                    to.copy_from_slice(from);
                }
            }
            Ok(())
        })?;
        Ok(logits)
    }

    /// The mean of W's rows under `n` distributions (n * V values, which need not sum to 1): n * H values.
    pub(crate) fn means(&self, shares: &[f32]) -> Result<Vec<f32>> {
        let n = shares.len() / self.vocab;
        let mut sum = Tensor::zeros((n, self.hidden), DType::F32, &Device::Cpu)?;
        self.each_block(|first, block| {
            let count = block.dim(0)?;
            let part = shares.chunks_exact(self.vocab).filter_map(|row| row.get(first..first + count));
            let part: Vec<f32> = part.flatten().copied().collect();
            sum = (&sum + Tensor::from_vec(part, (n, count), &Device::Cpu)?.matmul(&block)?)?;
            Ok(())
        })?;
        Ok(sum.flatten_all()?.to_vec1()?)
    }

    /// Every block of rows, widened, with the number of its first row.
    fn each_block(&self, mut each: impl FnMut(usize, Tensor) -> Result<()>) -> Result<()> {
        for first in (0..self.vocab).step_by(BLOCK_ROWS) {
            let count = BLOCK_ROWS.min(self.vocab - first);
            let mut values = Vec::with_capacity(count * self.hidden);
            (first..first + count).try_for_each(|row| self.row_into(row, &mut values))?;
            each(first, Tensor::from_vec(values, (count, self.hidden), &Device::Cpu)?)?;
        }
        Ok(())
    }

    /// Appends row `row` of W, widened; nothing beyond V.
    pub(crate) fn row_into(&self, row: usize, to: &mut Vec<f32>) -> Result<()> {
        let bytes = self.hidden / GROUP * BLOCK_BYTES;
        widen(self.rows.data()?.get(row * bytes..(row + 1) * bytes).unwrap_or(&[]), to);
        Ok(())
    }

    /// W widened to f32 (V x H), for training where V is small.
    pub(crate) fn wide(&self) -> Result<&Tensor> {
        if self.wide.get().is_none() {
            let _ = self.wide.set(self.rows.dequantize(&Device::Cpu)?);
        }
        self.wide.get().ok_or_else(|| AdapterError::Shape("the head cannot be widened".into()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rng::Rng;

    /// A random head in Q8_0 form.
    pub(crate) fn random(vocab: usize, hidden: usize, seed: u64) -> Head {
        let mut rng = Rng::at(seed, &[9]);
        let values: Vec<f32> = (0..vocab * hidden).map(|_| rng.normal() as f32 * 0.3).collect();
        let dense = Tensor::from_vec(values, (vocab, hidden), &Device::Cpu).unwrap();
        let quantised = QTensor::quantize(&dense, GgmlDType::Q8_0).unwrap();
        Head::from_q8_0(&quantised.data().unwrap(), vocab, hidden).unwrap()
    }

    #[test]
    fn logits_are_products_with_the_rows() {
        for (vocab, hidden) in [(32, 256), (10, 32)] {
            let head = random(vocab, hidden, 1);
            let dense = head.wide().unwrap().to_vec2::<f32>().unwrap();
            let h: Vec<f32> = (0..hidden).map(|i| (i as f32 * 0.37).sin()).collect();
            let logits = head.logits(&h).unwrap();
            for (row, logit) in dense.iter().zip(&logits) {
                let product: f32 = row.iter().zip(&h).map(|(a, b)| a * b).sum();
                assert!((product - logit).abs() < 0.05, "{product} {logit}");
            }
        }
        for (vocab, hidden) in [(BLOCK_ROWS + 10, 32), (20, 64)] {
            let head = random(vocab, hidden, 2);
            let dense = head.wide().unwrap();
            let values = |n: usize| (0..n).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<f32>>();
            let close = |found: &[f32], expected: &Tensor| {
                let expected = expected.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(found.len(), expected.len());
                for (a, b) in found.iter().zip(&expected) {
                    assert!((a - b).abs() < 1e-3 * (1.0 + b.abs()), "{a} {b}");
                }
            };
            let tensor =
                |n: usize, width| Tensor::from_vec(values(n * width), (n, width), &Device::Cpu).unwrap();
            let expected = tensor(3, hidden).matmul(&dense.t().unwrap()).unwrap();
            close(&head.logits_by_blocks(&values(3 * hidden)).unwrap(), &expected);
            close(&head.means(&values(3 * vocab)).unwrap(), &tensor(3, vocab).matmul(dense).unwrap());
            let mut row = Vec::new();
            head.row_into(vocab - 1, &mut row).unwrap();
            assert_eq!(row, dense.to_vec2::<f32>().unwrap()[vocab - 1]);
        }
        assert!(Head::from_q8_0(&[0; 33], 1, 32).is_err());
        assert!(random(16, 32, 1).logits(&[0.0; 33]).is_err());
    }
}
