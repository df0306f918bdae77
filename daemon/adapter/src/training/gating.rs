//! The gate of a training: fitted on out-of-fold gains only, its ridge chosen by the gated cost on the folds that a
//! fit did not see.

use super::Training;
use crate::error::Result;
use crate::gate::{Gate, Samples, fit, table};

/// Ridges tried, on standardised weights.
const RIDGES: [f64; 5] = [0.03, 0.1, 0.3, 1.0, 3.0];

/// Training tokens of some folds.
#[derive(Default)]
struct Tokens {
    z: Vec<f32>,
    gain: Vec<f64>,
    weight: Vec<f64>,
}

impl Training<'_> {
    pub(super) fn fit_gate(&self) -> Result<Option<Gate>> {
        if !self.job.variant.gated() {
            return Ok(None);
        }
        if !self.job.settings.cross_fit {
            let [_, ridge, ..] = RIDGES;
            return if self.gains.iter().all(|g| *g == 0.0) {
                Ok(None)
            } else {
                self.fit_on(&self.tokens(|_| true), ridge).map(Some)
            };
        }
        // What only one fold holds was never seen from outside: nothing shows where opening pays, and it stays closed.
        if (0..self.folds()).filter(|fold| !self.tokens(|f| f == *fold).gain.is_empty()).count() < 2 {
            return Ok(None);
        }
        let lambda = self.job.settings.lambda;
        let mut best: Option<(f64, f64, Vec<f32>)> = None;
        for ridge in RIDGES {
            let mut cost = 0.0;
            let mut probabilities = Vec::new();
            for fold in 0..self.folds() {
                let gate = self.fit_on(&self.tokens(|f| f != fold), ridge)?;
                let unseen = self.tokens(|f| f == fold);
                let rows = unseen.z.chunks_exact(self.job.shape.hidden);
                for ((z, gain), weight) in rows.zip(&unseen.gain).zip(&unseen.weight) {
                    let p = gate.probability(z);
                    probabilities.push(p);
                    cost += if gate.opens(p) { weight * (lambda - gain) } else { 0.0 };
                }
            }
            if best.as_ref().is_none_or(|(lowest, ..)| cost < *lowest) {
                best = Some((cost, ridge, probabilities));
            }
        }
        let Some((_, ridge, probabilities)) = best else { return Ok(None) };
        let mut gate = self.fit_on(&self.tokens(|_| true), ridge)?;
        gate.table = table(&probabilities);
        Ok(Some(gate))
    }

    fn fit_on(&self, tokens: &Tokens, ridge: f64) -> Result<Gate> {
        let samples = Samples {
            z: &tokens.z,
            hidden: self.job.shape.hidden,
            gain: &tokens.gain,
            weight: &tokens.weight,
        };
        fit(&samples, self.job.settings.lambda, ridge)
    }

    fn tokens(&self, wanted: impl Fn(u64) -> bool) -> Tokens {
        let mut tokens = Tokens::default();
        for known in self.data.turns().iter().filter(|k| wanted(k.fold)) {
            let n = known.turn.targets.len();
            known.turn.states.z_into(0..n, &mut tokens.z);
            tokens.gain.extend(self.gains.iter().skip(known.first).take(n).map(|g| f64::from(*g)));
            tokens.weight.extend(std::iter::repeat_n(f64::from(known.turn.weight), n));
        }
        tokens
    }
}
