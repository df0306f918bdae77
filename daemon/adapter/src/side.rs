//! The side network (method, section 3): taps in, side output g out. Stateless across positions.
//!
//! `e_k = norm(tap_k P_k)`, `s = mu_k s + (1 - mu_k) e_k`, `s = s + (silu(s A_k) * (s B_k)) C_k`, `g = norm(s) U`.

use crate::error::Result;
use crate::rng::Rng;
use aside_codec::Layout;
use candle_core::{D, Device, Tensor, Var};

/// Added to mean squares before the root.
const EPSILON: f64 = 1e-6;
/// Hidden width of the ladder's MLPs, in ranks.
const EXPANSION: usize = 4;

/// Sizes of a side network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// H.
    pub hidden: usize,
    /// V.
    pub vocab: usize,
    /// Taps without z, which always is the last one.
    pub layer_taps: usize,
    /// r.
    pub rank: usize,
}

impl Shape {
    /// r = 64 for H <= 1024, 128 above.
    #[must_use]
    pub fn rank_for(hidden: usize) -> usize {
        if hidden <= 1024 { 64 } else { 128 }
    }

    /// Shape of the states that the network reads.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout { hidden: self.hidden, layer_taps: self.layer_taps }
    }

    /// Names and dimensions of the parameters, in the order of every list of them.
    pub(crate) fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (h, r, wide) = (self.hidden, self.rank, self.rank * EXPANSION);
        let mut out = Vec::new();
        for k in 0..=self.layer_taps {
            out.push((format!("tap.{k}.project"), vec![h, r]));
            out.push((format!("tap.{k}.mix"), vec![r]));
            out.push((format!("tap.{k}.gate"), vec![r, wide]));
            out.push((format!("tap.{k}.up"), vec![r, wide]));
            out.push((format!("tap.{k}.down"), vec![wide, r]));
        }
        out.push(("output".to_owned(), vec![r, h]));
        out
    }
}

/// Parameters of one rung of the ladder.
struct Rung {
    project: Var,
    mix: Var,
    gate: Var,
    up: Var,
    down: Var,
}

/// The network.
pub(crate) struct SideNetwork {
    shape: Shape,
    rungs: Vec<Rung>,
    output: Var,
}

/// Inverted dropout masks from a seeded generator; none when serving.
pub(crate) struct Dropout {
    pub(crate) rate: f64,
    pub(crate) rng: Rng,
}

impl Dropout {
    fn apply(&mut self, x: &Tensor) -> Result<Tensor> {
        if self.rate <= 0.0 {
            return Ok(x.clone());
        }
        let keep = (1.0 / (1.0 - self.rate)) as f32;
        // Four draws of 16 bits from every number.
        let limit = (self.rate * 65_536.0) as u64;
        let mut mask = Vec::with_capacity(x.elem_count() + 3);
        while mask.len() < x.elem_count() {
            let draws = self.rng.next();
            mask.extend([0, 16, 32, 48].map(|at| if (draws >> at) & 0xFFFF < limit { 0.0 } else { keep }));
        }
        mask.truncate(x.elem_count());
        Ok((x * Tensor::from_vec(mask, x.dims(), x.device())?)?)
    }
}

impl SideNetwork {
    /// A newborn: U is zero, so g is zero and a new adapter is exactly the backbone.
    pub(crate) fn birth(shape: Shape, seed: u64) -> Result<Self> {
        let mut rng = Rng::at(seed, &[0xB1]);
        let values: Vec<Vec<f32>> = shape
            .parameters()
            .iter()
            .map(|(name, dims)| {
                let count = dims.iter().product();
                let deviation = match name.rsplit('.').next() {
                    Some("output" | "mix") => 0.0,
                    _ => 1.0 / (dims.first().copied().unwrap_or(1) as f64).sqrt(),
                };
                (0..count).map(|_| (rng.normal() * deviation) as f32).collect()
            })
            .collect();
        Self::from_values(shape, &values)
    }

    /// From flat values in the order of [`Shape::parameters`]; lengths are the caller's duty.
    pub(crate) fn from_values(shape: Shape, values: &[Vec<f32>]) -> Result<Self> {
        let mut variables = Vec::new();
        for ((_, dims), flat) in shape.parameters().iter().zip(values) {
            let tensor = Tensor::from_slice(flat, dims.as_slice(), &Device::Cpu)?;
            variables.push(Var::from_tensor(&tensor)?);
        }
        let mut next = variables.into_iter();
        let mut take =
            || next.next().ok_or_else(|| crate::AdapterError::Shape("a parameter is missing".into()));
        let rungs = (0..=shape.layer_taps)
            .map(|_| Ok(Rung { project: take()?, mix: take()?, gate: take()?, up: take()?, down: take()? }))
            .collect::<Result<_>>()?;
        Ok(Self { shape, rungs, output: take()? })
    }

    /// Flat values in the order of [`Shape::parameters`].
    pub(crate) fn values(&self) -> Result<Vec<Vec<f32>>> {
        self.variables().map(|v| Ok(v.flatten_all()?.to_vec1()?)).collect()
    }

    /// Whether its output is zero whatever it is given.
    pub(crate) fn is_newborn(&self) -> Result<bool> {
        Ok(self.output.flatten_all()?.to_vec1::<f32>()?.iter().all(|v| *v == 0.0))
    }

    pub(crate) fn variables(&self) -> impl Iterator<Item = &Var> {
        let rungs = self.rungs.iter().flat_map(|r| [&r.project, &r.mix, &r.gate, &r.up, &r.down]);
        rungs.chain([&self.output])
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// `taps` is (n, layer_taps * H) RMS-normalised, `z` is (n, H) unnormalised; g is (n, H).
    pub(crate) fn forward(
        &self,
        taps: &Tensor,
        z: &Tensor,
        mut dropout: Option<&mut Dropout>,
    ) -> Result<Tensor> {
        let h = self.shape.hidden;
        let mut s: Option<Tensor> = None;
        for (k, rung) in self.rungs.iter().enumerate() {
            let tap = if k < self.shape.layer_taps {
                taps.narrow(1, k * h, h)?.contiguous()?
            } else {
                normalised(z)?
            };
            let e = normalised(&tap.matmul(&rung.project)?)?;
            let mu = candle_nn::ops::sigmoid(&rung.mix)?;
            let kept = match &s {
                Some(s) => (s.broadcast_mul(&mu)? + e.broadcast_mul(&mu.affine(-1.0, 1.0)?)?)?,
                None => e.broadcast_mul(&mu.affine(-1.0, 1.0)?)?,
            };
            let inner = (kept.matmul(&rung.gate)?.silu()? * kept.matmul(&rung.up)?)?;
            let inner = match dropout.as_deref_mut() {
                Some(dropout) => dropout.apply(&inner)?,
                None => inner,
            };
            s = Some((kept + inner.matmul(&rung.down)?)?);
        }
        let s = s.ok_or_else(|| crate::AdapterError::Shape("a side network without taps".into()))?;
        let s = normalised(&s)?;
        let s = match dropout {
            Some(dropout) => dropout.apply(&s)?,
            None => s,
        };
        Ok(s.matmul(&self.output)?)
    }
}

/// RMS normalisation of the last dimension without weights, in operations that keep the gradient.
fn normalised(x: &Tensor) -> Result<Tensor> {
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
    Ok(x.broadcast_div(&(mean_square + EPSILON)?.sqrt()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { hidden: 32, vocab: 16, layer_taps: 2, rank: 4 };

    fn random(n: usize, width: usize, seed: u64) -> Tensor {
        let mut rng = Rng::at(seed, &[]);
        let values: Vec<f32> = (0..n * width).map(|_| rng.normal() as f32).collect();
        Tensor::from_vec(values, (n, width), &Device::Cpu).unwrap()
    }

    /// A network with a U that is not zero.
    fn grown() -> SideNetwork {
        let mut values = SideNetwork::birth(SHAPE, 1).unwrap().values().unwrap();
        let mut rng = Rng::at(5, &[]);
        for values in &mut values {
            values.iter_mut().for_each(|v| *v += 0.3 * rng.normal() as f32);
        }
        SideNetwork::from_values(SHAPE, &values).unwrap()
    }

    #[test]
    fn a_newborn_outputs_zero() {
        let g = SideNetwork::birth(SHAPE, 1)
            .unwrap()
            .forward(&random(3, 64, 2), &random(3, 32, 3), None)
            .unwrap();
        assert!(g.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|v| *v == 0.0));
    }

    #[test]
    fn every_gradient_matches_finite_differences() {
        let (taps, z, weights) = (random(5, 64, 2), random(5, 32, 3), random(5, 32, 4));
        let network = grown();
        let loss = |network: &SideNetwork| {
            let g = network.forward(&taps, &z, None).unwrap();
            f64::from((g * &weights).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap())
        };
        let sum = (network.forward(&taps, &z, None).unwrap() * &weights).unwrap().sum_all().unwrap();
        let gradients = sum.backward().unwrap();
        let values = network.values().unwrap();
        for (index, variable) in network.variables().enumerate() {
            let gradient = gradients.get(variable).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let largest = gradient.iter().fold(0f32, |m, g| m.max(g.abs()));
            assert!(largest > 1e-3, "parameter {index} has no gradient");
            for place in [0, gradient.len() / 2, gradient.len() - 1] {
                let moved = |by: f32| {
                    let mut values = values.clone();
                    values[index][place] += by;
                    loss(&SideNetwork::from_values(SHAPE, &values).unwrap())
                };
                let numeric = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                let found = f64::from(gradient[place]);
                assert!(
                    (numeric - found).abs() < 0.02 * f64::from(largest) + 2e-3,
                    "{index}/{place}: {numeric} {found}"
                );
            }
        }
    }

    #[test]
    fn dropout_repeats_with_its_seed_and_keeps_the_mean() {
        let drop = |seed| {
            let mut dropout = Dropout { rate: 0.25, rng: Rng::at(seed, &[]) };
            dropout.apply(&Tensor::ones((100, 100), candle_core::DType::F32, &Device::Cpu).unwrap()).unwrap()
        };
        let first = drop(1).flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(first, drop(1).flatten_all().unwrap().to_vec1::<f32>().unwrap());
        let mean = first.iter().sum::<f32>() / 10_000.0;
        assert!((mean - 1.0).abs() < 0.03, "{mean}");
    }
}
