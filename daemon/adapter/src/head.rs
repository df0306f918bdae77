//! The frozen head W of the backbone, as the model kit ships it: Q8_0 rows.

use crate::error::{AdapterError, Result};
use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{Device, Module, Tensor};
use std::borrow::Cow;
use std::sync::Arc;

/// Values of one Q8_0 block and its bytes.
const BLOCK: usize = 32;
const BLOCK_BYTES: usize = 34;

/// W (V x H), public and frozen.
pub struct Head {
    rows: Arc<QTensor>,
    serve: QMatMul,
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
        let expected = vocab.checked_mul(hidden / BLOCK).and_then(|n| n.checked_mul(BLOCK_BYTES));
        if hidden == 0 || !hidden.is_multiple_of(BLOCK) || vocab == 0 || expected != Some(bytes.len()) {
            return Err(AdapterError::Shape(format!(
                "a head of {vocab} x {hidden} does not fit into {} bytes",
                bytes.len()
            )));
        }
        let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, GgmlDType::Q8_0)?;
        let rows = Arc::new(QTensor::new(storage, (vocab, hidden))?);
        let exact = hidden.is_multiple_of(256) && vocab.is_multiple_of(16);
        let serve = if exact {
            QMatMul::QTensor(rows.clone())
        } else {
            QMatMul::Tensor(rows.dequantize(&Device::Cpu)?)
        };
        Ok(Self { rows, serve, vocab, hidden })
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
        let h = Tensor::from_slice(h, (h.len() / self.hidden, self.hidden), &Device::Cpu)?;
        Ok(self.serve.forward(&h)?.flatten_all()?.to_vec1()?)
    }

    /// W widened to f32 (V x H), for training.
    pub(crate) fn dense(&self) -> Result<Tensor> {
        Ok(self.rows.dequantize(&Device::Cpu)?)
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
            let dense = head.dense().unwrap().to_vec2::<f32>().unwrap();
            let h: Vec<f32> = (0..hidden).map(|i| (i as f32 * 0.37).sin()).collect();
            let logits = head.logits(&h).unwrap();
            for (row, logit) in dense.iter().zip(&logits) {
                let product: f32 = row.iter().zip(&h).map(|(a, b)| a * b).sum();
                assert!((product - logit).abs() < 0.05, "{product} {logit}");
            }
        }
        assert!(Head::from_q8_0(&[0; 33], 1, 32).is_err());
        assert!(random(16, 32, 1).logits(&[0.0; 33]).is_err());
    }
}
