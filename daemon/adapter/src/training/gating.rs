//! The gate of a training: fitted on out-of-fold gains only, its ridge chosen by the gated cost on the folds that a
//! fit did not see.

use super::Training;
use crate::error::Result;
use crate::gate::{Gate, Samples, fit, probability, table};

/// Ridges tried, on standardised weights.
const RIDGES: [f64; 5] = [0.03, 0.1, 0.3, 1.0, 3.0];
/// Shares of open tokens tried as the place of the bar, beside what the fit itself opens.
const BARS: usize = 20;

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
        let mut best: Option<(Bar, f64, Vec<f32>)> = None;
        for ridge in RIDGES {
            // Of tokens that the fit did not see: how sure it is, and what opening costs.
            let mut unseen_tokens = Vec::new();
            for fold in 0..self.folds() {
                let gate = self.fit_on(&self.tokens(|f| f != fold), ridge)?;
                let unseen = self.tokens(|f| f == fold);
                let rows = unseen.z.chunks_exact(self.job.shape.hidden);
                for ((z, gain), weight) in rows.zip(&unseen.gain).zip(&unseen.weight) {
                    unseen_tokens.push((gate.score(z), weight * (lambda - gain)));
                }
            }
            let bar = bar(&mut unseen_tokens);
            if best.as_ref().is_none_or(|(lowest, ..)| bar.cost < lowest.cost) {
                best = Some((bar, ridge, unseen_tokens.iter().map(|(score, _)| *score).collect()));
            }
        }
        let Some((bar, ridge, scores)) = best else { return Ok(None) };
        let mut gate = self.fit_on(&self.tokens(|_| true), ridge)?;
        gate.bias[1] -= bar.score;
        let probabilities: Vec<f32> = scores.iter().map(|score| probability(score - bar.score)).collect();
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

/// Where the gate opens: above `score`, which costs `cost` in all.
struct Bar {
    score: f32,
    cost: f64,
}

/// The bar of the lowest cost on a grid of open rates, if it is below that of the fit's own, 0, by more than twice the standard
/// error of the difference. Cost weights let the few tokens that gain much say where the fit's own bar lies; with a ridge
/// on the weights, that may open many others which gain nothing.
fn bar(tokens: &mut [(f32, f64)]) -> Bar {
    tokens.sort_by(|a, b| b.0.total_cmp(&a.0));
    let own = tokens.iter().take_while(|(score, _)| *score > 0.0).count();
    // Sums of costs, and of their squares, up to every place.
    let mut sums = vec![(0.0, 0.0)];
    for (_, cost) in tokens.iter() {
        let (sum, squares) = sums.last().copied().unwrap_or_default();
        sums.push((sum + cost, squares + cost * cost));
    }
    let at = |place: usize| sums.get(place).copied().unwrap_or_default();
    let sure = |place: usize| at(own).0 - at(place).0 > 2.0 * (at(own).1 - at(place).1).abs().sqrt();
    let places = (0..BARS).map(|step| tokens.len() * step / BARS).filter(|place| sure(*place));
    let best = places.fold(own, |best, place| if at(place).0 < at(best).0 { place } else { best });
    let score = if best == own { 0.0 } else { tokens.get(best).map_or(0.0, |(score, _)| *score) };
    Bar { score, cost: at(best).0 }
}
