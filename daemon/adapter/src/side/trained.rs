//! The side network's forward and backward pass of a training step, by hand: the products are the library's, the rest is
//! plain loops. Autograd computes gradients of the taps too and walks every small operation by itself, which takes twice
//! as long; the test compares the two.

use super::{Dropout, EPSILON, SideNetwork};
use crate::error::{AdapterError, Result};
use crate::simd::sigmoid;
use candle_core::{Device, Tensor};

/// What the forward pass leaves for the backward pass. n positions, rank r, inner width w.
pub(crate) struct Trace {
    rungs: Vec<RungTrace>,
    last: Normed,
    /// Mask of the last dropout (n x r); and the masked state (n x r).
    mask: Vec<f32>,
    kept: Tensor,
}

struct RungTrace {
    /// The normalised tap (n x H).
    tap: Tensor,
    /// e.
    e: Normed,
    /// mu (r).
    mu: Vec<f32>,
    /// s before this rung (n x r), and after mixing e in.
    before: Vec<f32>,
    mixed: Tensor,
    /// Both halves of the gated unit before the product (n x w), and the sigmoid of the first.
    gate: Vec<f32>,
    up: Vec<f32>,
    sigmoid: Vec<f32>,
    /// Mask of its dropout, and what it leaves (n x w).
    mask: Vec<f32>,
    inner: Tensor,
}

/// Rows brought to mean square 1, and the factor of each.
struct Normed {
    rows: Vec<f32>,
    factors: Vec<f32>,
}

impl Normed {
    fn of(mut rows: Vec<f32>, width: usize) -> Self {
        let mut factors = Vec::with_capacity(rows.len() / width.max(1));
        for row in rows.chunks_exact_mut(width) {
            let square = row.iter().map(|v| v * v).sum::<f32>() / width as f32;
            let factor = (square + EPSILON as f32).sqrt().recip();
            row.iter_mut().for_each(|v| *v *= factor);
            factors.push(factor);
        }
        Self { rows, factors }
    }

    /// Turns the gradient of the normed rows into that of what they were: `f (d - e <d, e> / r)`.
    fn back(&self, gradient: &mut [f32], width: usize) {
        let rows = self.rows.chunks_exact(width).zip(&self.factors);
        for (d, (e, factor)) in gradient.chunks_exact_mut(width).zip(rows) {
            let along = d.iter().zip(e).map(|(d, e)| d * e).sum::<f32>() / width as f32;
            d.iter_mut().zip(e).for_each(|(d, e)| *d = factor * (*d - e * along));
        }
    }
}

fn flat(x: &Tensor) -> Result<Vec<f32>> {
    Ok(x.flatten_all()?.to_vec1()?)
}

fn matrix(values: Vec<f32>, rows: usize) -> Result<Tensor> {
    let width = values.len() / rows.max(1);
    Ok(Tensor::from_vec(values, (rows, width), &Device::Cpu)?)
}

/// `a * b`, value by value.
fn times(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

impl SideNetwork {
    /// As [`SideNetwork::forward`] with dropout: g (n x H), and what [`SideNetwork::gradients`] needs.
    pub(crate) fn trace(&self, taps: &Tensor, z: &Tensor, dropout: &mut Dropout) -> Result<(Tensor, Trace)> {
        let (h, r, n) = (self.shape.hidden, self.shape.rank, z.dim(0)?);
        let mut rungs: Vec<RungTrace> = Vec::new();
        let mut s = vec![0.0; n * r];
        for (k, rung) in self.rungs.iter().enumerate() {
            let tap = if k < self.shape.layer_taps {
                taps.narrow(1, k * h, h)?.contiguous()?
            } else {
                matrix(Normed::of(flat(z)?, h).rows, n)?
            };
            let e = Normed::of(flat(&tap.matmul(&rung.project)?)?, r);
            let mu = sigmoid(&flat(&rung.mix)?);
            let mut mixed = s.clone();
            for (s, e) in mixed.chunks_exact_mut(r).zip(e.rows.chunks_exact(r)) {
                s.iter_mut().zip(e).zip(&mu).for_each(|((s, e), mu)| *s = *s * mu + e * (1.0 - mu));
            }
            let before = std::mem::replace(&mut s, mixed.clone());
            let mixed = matrix(mixed, n)?;
            let (gate, up) = (flat(&mixed.matmul(&rung.gate)?)?, flat(&mixed.matmul(&rung.up)?)?);
            let sigmoid = sigmoid(&gate);
            let mask = dropout.mask(gate.len());
            let inner = gate.iter().zip(&sigmoid).zip(up.iter().zip(&mask));
            let inner = matrix(inner.map(|((g, sigmoid), (u, mask))| g * sigmoid * u * mask).collect(), n)?;
            let down = flat(&inner.matmul(&rung.down)?)?;
            s.iter_mut().zip(&down).for_each(|(s, d)| *s += d);
            rungs.push(RungTrace { tap, e, mu, before, mixed, gate, up, sigmoid, mask, inner });
        }
        let last = Normed::of(s, r);
        let mask = dropout.mask(last.rows.len());
        let kept = matrix(times(&last.rows, &mask), n)?;
        let g = kept.matmul(&self.output)?;
        Ok((g, Trace { rungs, last, mask, kept }))
    }

    /// Gradients of all parameters, in the order of [`super::Shape::parameters`], from that of g (n x H).
    pub(crate) fn gradients(&self, trace: &Trace, downstream: &Tensor) -> Result<Vec<Vec<f32>>> {
        let (r, n) = (self.shape.rank, downstream.dim(0)?);
        let output = flat(&trace.kept.t()?.matmul(downstream)?)?;
        let mut ds = times(&flat(&downstream.matmul(&self.output.t()?)?)?, &trace.mask);
        trace.last.back(&mut ds, r);
        let mut all = Vec::new();
        for (rung, was) in self.rungs.iter().zip(&trace.rungs).rev() {
            let above = matrix(ds.clone(), n)?;
            let down = flat(&was.inner.t()?.matmul(&above)?)?;
            let inner = flat(&above.matmul(&rung.down.t()?)?)?;
            let (mut gate, mut up) = (Vec::with_capacity(inner.len()), Vec::with_capacity(inner.len()));
            let halves = was.gate.iter().zip(&was.sigmoid).zip(was.up.iter().zip(&was.mask));
            for (d, ((g, sigmoid), (u, mask))) in inner.iter().zip(halves) {
                let d = d * mask;
                gate.push(d * u * sigmoid * (1.0 + g * (1.0 - sigmoid)));
                up.push(d * g * sigmoid);
            }
            let (gate, up) = (matrix(gate, n)?, matrix(up, n)?);
            let mixed = was.mixed.t()?;
            let (by_gate, by_up) = (flat(&mixed.matmul(&gate)?)?, flat(&mixed.matmul(&up)?)?);
            let through = flat(&(gate.matmul(&rung.gate.t()?)? + up.matmul(&rung.up.t()?)?)?)?;
            ds.iter_mut().zip(&through).for_each(|(ds, d)| *ds += d);
            let (mut mix, mut de) = (vec![0.0; r], ds.clone());
            let rows = was.before.chunks_exact(r).zip(was.e.rows.chunks_exact(r));
            for ((ds, de), (before, e)) in ds.chunks_exact_mut(r).zip(de.chunks_exact_mut(r)).zip(rows) {
                let states = before.iter().zip(e).zip(&was.mu);
                for (((ds, de), mix), ((before, e), mu)) in ds.iter_mut().zip(de).zip(&mut mix).zip(states) {
                    *mix += *ds * (before - e) * mu * (1.0 - mu);
                    *de *= 1.0 - mu;
                    *ds *= mu;
                }
            }
            was.e.back(&mut de, r);
            let project = flat(&was.tap.t()?.matmul(&matrix(de, n)?)?)?;
            all.push([project, mix, by_gate, by_up, down]);
        }
        if all.len() != self.rungs.len() {
            return Err(AdapterError::Shape("a trace of another network".into()));
        }
        Ok(all.into_iter().rev().flatten().chain([output]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SHAPE, grown, random};
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn gradients_by_hand_are_those_of_autograd() {
        let (taps, z, downstream) = (random(7, 64, 2), random(7, 32, 3), random(7, 32, 4));
        let network = grown();
        for rate in [0.0, 0.5] {
            let dropout = || Dropout { rate, rng: Rng::at(3, &[]) };
            let expected_g = network.forward(&taps, &z, Some(&mut dropout())).unwrap();
            let (g, trace) = network.trace(&taps, &z, &mut dropout()).unwrap();
            let close = |found: &[f32], expected: &Tensor| {
                let expected = flat(expected).unwrap();
                assert_eq!(found.len(), expected.len());
                let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
                assert!(largest > 1e-3);
                for (a, b) in found.iter().zip(&expected) {
                    assert!((a - b).abs() < 1e-4 * largest, "{a} {b} of {largest}");
                }
            };
            close(&flat(&g).unwrap(), &expected_g);
            let autograd = (expected_g * &downstream).unwrap().sum_all().unwrap().backward().unwrap();
            let found = network.gradients(&trace, &downstream).unwrap();
            assert_eq!(found.len(), SHAPE.parameters().len());
            for (found, variable) in found.iter().zip(network.variables()) {
                close(found, autograd.get(variable).unwrap());
            }
        }
    }
}
