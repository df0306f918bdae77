//! How a state becomes a key: the normalised state, turned, and narrowed where it is wide. Up to [`WIDEST`] numbers nothing is
//! lost and a seeded turn serves; beyond, a starter brings the principal directions of its backbone's states.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::rows::PART;
use crate::error::Result;
use crate::rng::Rng;

/// Numbers of a key at most; a wider state is narrowed.
pub const WIDEST: usize = 256;
/// Square of a key, about, whatever its width.
pub(super) const SQUARE: f64 = 64.0;
/// Seed of the turn; a number that all builds share, so that stored keys stay good.
const SEED: u64 = 0xA51D_E000;
/// Rounds of the orthogonal iteration. What it has not told apart after these lies beside the subspace by little variance.
const ROUNDS: usize = 20;

/// H x width, row-major; a key is `rms(z)` times it.
#[derive(Clone, PartialEq)]
pub(crate) struct Projection {
    pub(super) width: usize,
    values: Arc<[f32]>,
    learned: bool,
}

impl Projection {
    /// The one that every build knows: orthonormal columns of seeded noise, scaled.
    pub(crate) fn seeded(hidden: usize) -> Self {
        let width = hidden.clamp(1, WIDEST).next_multiple_of(PART);
        let mut rng = Rng::at(SEED, &[hidden as u64]);
        let mut columns: Vec<Vec<f64>> =
            (0..width.min(hidden)).map(|_| (0..hidden).map(|_| rng.normal()).collect()).collect();
        orthonormal(&mut columns);
        // A normalised state has the square H, of which the columns keep their share.
        let scale = (SQUARE / width.min(hidden).max(1) as f64).sqrt();
        Self { width, values: rows(&columns, hidden, width, scale), learned: false }
    }

    /// One that was learned; `None` where its size is none.
    pub(crate) fn of(hidden: usize, values: Vec<f32>) -> Option<Self> {
        let width = WIDEST;
        (hidden > WIDEST && values.len() == hidden * width).then(|| Self {
            width,
            values: values.into(),
            learned: true,
        })
    }

    /// The principal directions of `states` (n x H), scaled to keys of the usual square; the seeded one where no number has
    /// to go.
    pub(crate) fn fitted(hidden: usize, states: &[f32]) -> Result<Self> {
        if hidden <= WIDEST || states.len() < hidden {
            return Ok(Self::seeded(hidden));
        }
        let mut normal: Vec<f32> = Vec::with_capacity(states.len());
        for z in states.chunks_exact(hidden) {
            let inverse = inverse_rms(z);
            normal.extend(z.iter().map(|v| v * inverse));
        }
        let n = normal.len() / hidden;
        let x = Tensor::from_vec(normal, (n, hidden), &Device::Cpu)?;
        let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
        let covariance = (centred.t()?.matmul(&centred)? / n as f64)?;
        let mut rng = Rng::at(SEED, &[hidden as u64]);
        let mut columns: Vec<Vec<f64>> =
            (0..WIDEST).map(|_| (0..hidden).map(|_| rng.normal()).collect()).collect();
        for _ in 0..ROUNDS {
            orthonormal(&mut columns);
            let q = Tensor::from_slice(&rows(&columns, hidden, WIDEST, 1.0), (hidden, WIDEST), &Device::Cpu)?;
            let turned: Vec<f32> = covariance.matmul(&q)?.flatten_all()?.to_vec1()?;
            for (place, column) in columns.iter_mut().enumerate() {
                *column = turned.iter().skip(place).step_by(WIDEST).map(|v| f64::from(*v)).collect();
            }
        }
        orthonormal(&mut columns);
        let q = Tensor::from_slice(&rows(&columns, hidden, WIDEST, 1.0), (hidden, WIDEST), &Device::Cpu)?;
        let square: f32 = x.matmul(&q)?.sqr()?.sum_all()?.to_scalar()?;
        let scale = (SQUARE * n as f64 / f64::from(square).max(1e-9)).sqrt();
        Ok(Self { width: WIDEST, values: rows(&columns, hidden, WIDEST, scale), learned: true })
    }

    /// Its numbers where it was learned, to be stored with the keys.
    pub(crate) fn learned(&self) -> Option<&[f32]> {
        self.learned.then_some(&*self.values)
    }

    /// The key of a state.
    pub(super) fn key(&self, z: &[f32]) -> Vec<f32> {
        let inverse = inverse_rms(z);
        let mut key = vec![0f32; self.width];
        for (v, row) in z.iter().zip(self.values.chunks_exact(self.width)) {
            key.iter_mut().zip(row).for_each(|(k, q)| *k += v * inverse * q);
        }
        key
    }
}

fn inverse_rms(z: &[f32]) -> f32 {
    let mean = z.iter().map(|v| v * v).sum::<f32>() / z.len().max(1) as f32;
    1.0 / (mean + 1e-6).sqrt()
}

/// Gram and Schmidt, twice for exactness.
fn orthonormal(columns: &mut [Vec<f64>]) {
    for place in 0..columns.len() {
        let (before, rest) = columns.split_at_mut(place);
        let Some(column) = rest.first_mut() else { return };
        for _ in 0..2 {
            for other in before.iter() {
                let dot: f64 = column.iter().zip(other).map(|(a, b)| a * b).sum();
                column.iter_mut().zip(other).for_each(|(a, b)| *a -= dot * b);
            }
        }
        let length = column.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-30);
        column.iter_mut().for_each(|v| *v /= length);
    }
}

/// Columns as a matrix of `width` columns, zero where there are fewer.
fn rows(columns: &[Vec<f64>], hidden: usize, width: usize, scale: f64) -> Arc<[f32]> {
    let at = |row: usize, column: usize| {
        columns.get(column).and_then(|c| c.get(row)).map_or(0.0, |v| (v * scale) as f32)
    };
    (0..hidden)
        .flat_map(|row| (0..width).map(move |column| (row, column)))
        .map(|(row, column)| at(row, column))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeded_turn_keeps_distances() {
        let projection = Projection::seeded(96);
        let columns: Vec<Vec<f32>> = (0..96)
            .map(|c| projection.values.iter().skip(c).step_by(projection.width).copied().collect())
            .collect();
        for (i, a) in columns.iter().enumerate() {
            for (j, b) in columns.iter().enumerate() {
                let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                let expected = if i == j { SQUARE as f32 / 96.0 } else { 0.0 };
                assert!((dot - expected).abs() < 1e-5, "{i} {j}: {dot}");
            }
        }
    }

    #[test]
    fn the_principal_directions_keep_what_a_random_turn_loses() {
        // States of 320 numbers that vary in 40 directions, and by a little noise.
        let (hidden, mut rng) = (320, Rng::at(3, &[]));
        let mut directions: Vec<Vec<f64>> =
            (0..40).map(|_| (0..hidden).map(|_| rng.normal()).collect()).collect();
        orthonormal(&mut directions);
        let mut state = || -> Vec<f32> {
            let mut z: Vec<f64> = (0..hidden).map(|_| 0.02 * rng.normal()).collect();
            for direction in &directions {
                let by = 3.0 * rng.normal();
                z.iter_mut().zip(direction).for_each(|(z, d)| *z += by * d);
            }
            z.iter().map(|v| *v as f32).collect()
        };
        let states: Vec<f32> = (0..600).flat_map(|_| state()).collect();
        let (seeded, fitted) = (Projection::seeded(hidden), Projection::fitted(hidden, &states).unwrap());
        assert!(seeded.learned().is_none() && fitted.learned().is_some_and(|v| v.len() == hidden * WIDEST));
        // How well distances of keys follow those of the normalised states: spread of their ratio.
        let mut spread = |projection: &Projection| {
            let ratios: Vec<f64> = (0..200)
                .map(|_| {
                    let (a, b) = (state(), state());
                    let apart = |a: &[f32], b: &[f32]| -> f64 {
                        a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
                    };
                    let normal = |z: &[f32]| -> Vec<f32> { z.iter().map(|v| v * inverse_rms(z)).collect() };
                    apart(&projection.key(&a), &projection.key(&b)) / apart(&normal(&a), &normal(&b))
                })
                .collect();
            let mean = ratios.iter().sum::<f64>() / 200.0;
            (ratios.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / 200.0).sqrt() / mean
        };
        let (lost, kept) = (spread(&seeded), spread(&fitted));
        assert!(kept < 0.1 * lost, "{kept} {lost}");
        let square = fitted.key(&state()).iter().map(|v| v * v).sum::<f32>();
        assert!((square - SQUARE as f32).abs() < 6.0, "{square}");
        let again = Projection::of(hidden, fitted.learned().unwrap().to_vec()).unwrap();
        assert!(
            again == fitted
                && Projection::of(hidden, vec![0.0; 3]).is_none()
                && Projection::of(96, vec![]).is_none()
        );
    }
}
