//! A weight matrix and its product with rows: Q8_0 through candle's kernels, f32 by our own loops. Either way a row
//! of the result has the same bits whatever the other rows are.

use std::sync::Arc;

use candle_core::{
    Device, Module as _, Tensor,
    quantized::{GgmlDType, QMatMul, QStorage, QTensor},
    utils::barrier_pool,
};
use rayon::prelude::*;

use super::{
    Result, q8_0,
    simd::{dot, wide},
};

/// Rows below which one thread is faster than several.
const MANY_ROWS: usize = 64;
/// Multiplications below which one thread is faster than several.
const MUCH_WORK: usize = 1 << 21;

/// Numbers of a matrix as a file has them.
#[derive(Debug, Clone)]
pub(super) enum Raw {
    /// Row-major values.
    F32(Vec<f32>),
    /// Row-major blocks.
    Q8_0(Vec<u8>),
}

impl Raw {
    /// Row-major values, whatever they were.
    pub(super) fn into_f32(self) -> Vec<f32> {
        match self {
            Raw::F32(values) => values,
            Raw::Q8_0(blocks) => {
                let mut values = Vec::new();
                q8_0::dequantize(&blocks, &mut values);
                values
            }
        }
    }

    /// Row-major blocks, whatever they were; `k` columns.
    pub(super) fn into_q8_0(self, k: usize) -> Result<Vec<u8>> {
        match self {
            Raw::F32(values) => q8_0::quantize(&values, k),
            Raw::Q8_0(blocks) => Ok(blocks),
        }
    }
}

enum Weight {
    F32(Arc<Vec<f32>>),
    Q8_0(QMatMul),
}

/// `y = W x + b` for rows x of `inputs` values.
pub(super) struct Linear {
    weight: Weight,
    bias: Option<Vec<f32>>,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    /// From blocks, `outputs` rows of `inputs`. Uses them as they are when the fast kernels take the shape, their f32
    /// values otherwise.
    pub(super) fn from_q8_0(blocks: Vec<u8>, outputs: usize, inputs: usize) -> Result<Self> {
        let weight = if q8_0::is_fast(outputs, inputs) {
            let storage = QStorage::from_data(blocks.into(), &Device::Cpu, GgmlDType::Q8_0)?;
            Weight::Q8_0(QMatMul::from_qtensor(QTensor::new(storage, (outputs, inputs))?)?)
        } else {
            Weight::F32(Arc::new(Raw::Q8_0(blocks).into_f32()))
        };
        Ok(Self { weight, bias: None, inputs, outputs })
    }

    /// From values, `outputs` rows of `inputs`.
    pub(super) fn from_f32(values: impl Into<Arc<Vec<f32>>>, outputs: usize, inputs: usize) -> Self {
        Self { weight: Weight::F32(values.into()), bias: None, inputs, outputs }
    }

    /// Adds `bias` (of `outputs` values) to every row.
    pub(super) fn with_bias(mut self, bias: Option<Vec<f32>>) -> Self {
        self.bias = bias;
        self
    }

    /// Values in a row of the result.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// `rows * outputs` values from `rows * inputs`.
    pub(super) fn apply(&self, x: &[f32]) -> Result<Vec<f32>> {
        let mut y = match &self.weight {
            Weight::F32(weight) => self.apply_f32(weight, x),
            Weight::Q8_0(weight) => self.apply_q8_0(weight, x)?,
        };
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(self.outputs) {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        }
        Ok(y)
    }

    /// Splits many rows over rayon's threads, unless candle's own pool has threads to split the columns.
    fn apply_q8_0(&self, weight: &QMatMul, x: &[f32]) -> Result<Vec<f32>> {
        let rows = x.len() / self.inputs;
        if rows < MANY_ROWS || rayon::current_num_threads() == 1 || barrier_pool().n_workers() > 0 {
            return self.multiply(weight, x);
        }
        let part = rows.div_ceil(rayon::current_num_threads()) * self.inputs;
        let parts: Vec<Vec<f32>> =
            x.par_chunks(part).map(|x| self.multiply(weight, x)).collect::<Result<_>>()?;
        Ok(parts.concat())
    }

    fn multiply(&self, weight: &QMatMul, x: &[f32]) -> Result<Vec<f32>> {
        let x = Tensor::from_slice(x, (x.len() / self.inputs, self.inputs), &Device::Cpu)?;
        Ok(weight.forward(&x)?.flatten_all()?.to_vec1()?)
    }

    fn apply_f32(&self, weight: &[f32], x: &[f32]) -> Vec<f32> {
        let rows = x.len() / self.inputs;
        let mut y = vec![0f32; rows * self.outputs];
        if rayon::current_num_threads() == 1 || x.len() * self.outputs < MUCH_WORK {
            wide(Dots { weight, inputs: self.inputs, x, y: &mut y, outputs: self.outputs });
        } else if rows >= MANY_ROWS {
            let part = rows.div_ceil(rayon::current_num_threads());
            x.par_chunks(part * self.inputs)
                .zip(y.par_chunks_mut(part * self.outputs))
                .for_each(|(x, y)| wide(Dots { weight, inputs: self.inputs, x, y, outputs: self.outputs }));
        } else {
            let part = self.outputs.div_ceil(rayon::current_num_threads());
            for (x, y) in x.chunks_exact(self.inputs).zip(y.chunks_exact_mut(self.outputs)) {
                weight.par_chunks(part * self.inputs).zip(y.par_chunks_mut(part)).for_each(|(weight, y)| {
                    wide(Dots { weight, inputs: self.inputs, x, outputs: y.len(), y })
                });
            }
        }
        y
    }
}

/// Products of all rows with all weights; the weights are outside, so that each is read once for several rows.
struct Dots<'a> {
    weight: &'a [f32],
    inputs: usize,
    x: &'a [f32],
    outputs: usize,
    y: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        /// Rows of x that stay in the first cache while the weights go by.
        const TILE: usize = 16;
        let Self { weight, inputs, x, outputs, y } = self;
        for (x, y) in x.chunks(TILE * inputs).zip(y.chunks_mut(TILE * outputs)) {
            for (column, weight) in weight.chunks_exact(inputs).enumerate() {
                for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact_mut(outputs)) {
                    if let Some(y) = y.get_mut(column) {
                        *y = dot(x, weight);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize, seed: f32) -> Vec<f32> {
        (0..n).map(|i| ((i as f32 + seed) * 12.9898).sin()).collect()
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_among_others() {
        let (n, k, rows) = (48, 512, 90);
        let (weight, x) = (noise(n * k, 1.0), noise(rows * k, 2.0));
        let blocks = q8_0::quantize(&weight, k).unwrap();
        for linear in [Linear::from_q8_0(blocks, n, k).unwrap(), Linear::from_f32(weight, n, k)] {
            let all = linear.apply(&x).unwrap();
            for (x, y) in x.chunks(k).zip(all.chunks(n)) {
                assert_eq!(linear.apply(x).unwrap(), y);
            }
        }
    }

    #[test]
    fn blocks_and_values_agree_and_the_bias_is_added() {
        let (n, k) = (16, 256);
        let (weight, x, bias) = (noise(n * k, 3.0), noise(k, 4.0), noise(n, 5.0));
        let blocks = q8_0::quantize(&weight, k).unwrap();
        let quick = Linear::from_q8_0(blocks, n, k).unwrap().with_bias(Some(bias.clone()));
        let exact = Linear::from_f32(weight, n, k).with_bias(Some(bias));
        let (quick, exact) = (quick.apply(&x).unwrap(), exact.apply(&x).unwrap());
        assert!(quick.iter().zip(&exact).all(|(a, b)| (a - b).abs() < 0.3), "{quick:?} {exact:?}");
    }
}
