//! Rotary position embedding, with the linear and the Llama 3 scaling of frequencies.

use serde::Serialize;

/// How frequencies are stretched for a longer context than the model was first trained on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) enum Scaling {
    /// As trained.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// How many times longer.
        factor: f64,
    },
    /// Low frequencies divided by `factor`, high ones kept, those between blended (Llama 3.1).
    Llama3 {
        /// How many times longer.
        factor: f64,
        /// Below `original / low` turns a frequency is low.
        low: f64,
        /// Above `original / high` turns it is high.
        high: f64,
        /// Context of the first training.
        original: f64,
    },
}

/// Frequencies of one head, `head_dim / 2` of them.
pub(super) struct Rope {
    frequencies: Vec<f32>,
}

impl Rope {
    /// For heads of `head_dim` values with base `theta`.
    pub(super) fn new(head_dim: usize, theta: f64, scaling: &Scaling) -> Self {
        let plain = (0..head_dim / 2).map(|i| theta.powf(-((2 * i) as f64) / head_dim as f64));
        Self { frequencies: plain.map(|f| scale(f, scaling) as f32).collect() }
    }

    /// Cosines, then sines, of one position: `head_dim` values appended to `out`.
    pub(super) fn angles(&self, position: usize, out: &mut Vec<f32>) {
        let angle = |f: &f32| position as f32 * f;
        out.extend(self.frequencies.iter().map(|f| angle(f).cos()));
        out.extend(self.frequencies.iter().map(|f| angle(f).sin()));
    }
}

fn scale(frequency: f64, scaling: &Scaling) -> f64 {
    match scaling {
        Scaling::None => frequency,
        Scaling::Linear { factor } => frequency / factor,
        Scaling::Llama3 { factor, low, high, original } => {
            let turns = original * frequency / std::f64::consts::TAU;
            let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            frequency * (keep + (1.0 - keep) / factor)
        }
    }
}

/// Rotates every head of a row (first half against second half) by the [`Rope::angles`] of its position.
#[inline(always)]
pub(super) fn rotate(row: &mut [f32], angles: &[f32]) {
    let (cosines, sines) = angles.split_at(angles.len() / 2);
    for head in row.chunks_exact_mut(angles.len()) {
        let (first, second) = head.split_at_mut(cosines.len());
        for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_keeps_the_inner_product_of_equal_distances() {
        let rope = Rope::new(8, 10_000.0, &Scaling::None);
        let at = |position: usize, row: [f32; 8]| {
            let (mut row, mut angles) = (row, Vec::new());
            rope.angles(position, &mut angles);
            rotate(&mut row, &angles);
            row
        };
        let (q, k) = ([0.3, -0.2, 0.9, 0.1, 0.5, 0.7, -0.4, 0.2], [0.1, 0.4, -0.6, 0.8, 0.2, -0.9, 0.3, 0.5]);
        let product = |p: usize| -> f32 { at(p + 3, q).iter().zip(at(p, k)).map(|(a, b)| a * b).sum() };
        assert!((product(0) - product(50)).abs() < 1e-5);
        assert!((product(0) - at(7, q).iter().zip(at(0, k)).map(|(a, b)| a * b).sum::<f32>()).abs() > 1e-3);
    }

    #[test]
    fn llama3_keeps_high_and_divides_low_frequencies() {
        let scaling = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 };
        assert_eq!(scale(1.0, &scaling), 1.0);
        assert_eq!(scale(1e-5, &scaling), 1.25e-6);
        let between = scale(2.5 * std::f64::consts::TAU / 8192.0, &scaling);
        assert!((between - 2.5 * std::f64::consts::TAU / 8192.0 * (0.5 + 0.5 / 8.0)).abs() < 1e-12);
    }
}
