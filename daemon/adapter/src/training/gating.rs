//! The gate of a training: fitted on out-of-fold gains only, its ridge chosen by the gated cost on the folds that a
//! fit did not see.

use super::Training;
use crate::error::Result;
use crate::gate::{Gate, Samples, fit, probability, table};

/// Ridges tried, on standardised weights.
const RIDGES: [f64; 6] = [0.03, 0.1, 0.3, 1.0, 3.0, 10.0];
/// Shares of open tokens tried as the place of the bar, beside what the fit itself opens.
const BARS: usize = 20;

/// Tokens with what opening them gains.
#[derive(Default, Clone)]
pub(crate) struct Tokens {
    /// n x H.
    pub(crate) z: Vec<f32>,
    pub(crate) gain: Vec<f64>,
    pub(crate) weight: Vec<f64>,
}

impl Tokens {
    fn joined<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.z.extend_from_slice(&part.z);
            all.gain.extend_from_slice(&part.gain);
            all.weight.extend_from_slice(&part.weight);
        }
        all
    }

    fn fit(&self, ask: Ask<'_>, ridge: f64) -> Result<Gate> {
        let samples = Samples { z: &self.z, hidden: ask.hidden, gain: &self.gain, weight: &self.weight };
        fit(&samples, ask.lambda, ridge, ask.prior)
    }
}

/// What a gate is fitted for.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// H.
    pub(crate) hidden: usize,
    /// Price of a transmission in nats.
    pub(crate) lambda: f64,
    /// Where the ridge pulls to; to a gate that knows nothing without.
    pub(crate) prior: Option<&'a Gate>,
}

/// The gate of all folds; ridge and bar are those of the lowest cost where each fold is judged by a fit on the others.
/// `None` where fewer than two folds hold anything: what was never seen from outside shows no place where opening pays.
pub(crate) fn cross_fitted(folds: &[Tokens], ask: Ask<'_>) -> Result<Option<Gate>> {
    if folds.iter().filter(|fold| !fold.gain.is_empty()).count() < 2 {
        return Ok(None);
    }
    let mut best: Option<(Bar, f64, Vec<f32>)> = None;
    for ridge in RIDGES {
        // Of tokens that the fit did not see: how sure it is, and what opening costs.
        let mut unseen = Vec::new();
        for (number, fold) in folds.iter().enumerate() {
            let others = folds.iter().enumerate().filter(|(other, _)| *other != number).map(|(_, fold)| fold);
            let gate = Tokens::joined(others).fit(ask, ridge)?;
            let tokens = fold.z.chunks_exact(ask.hidden).zip(&fold.gain).zip(&fold.weight);
            unseen.extend(tokens.map(|((z, gain), weight)| (gate.score(z), weight * (ask.lambda - gain))));
        }
        let bar = bar(&mut unseen);
        if best.as_ref().is_none_or(|(lowest, ..)| bar.cost < lowest.cost) {
            best = Some((bar, ridge, unseen.iter().map(|(score, _)| *score).collect()));
        }
    }
    let Some((bar, ridge, scores)) = best else { return Ok(None) };
    let mut gate = Tokens::joined(folds.iter()).fit(ask, ridge)?;
    gate.bias[1] -= bar.score;
    let probabilities: Vec<f32> = scores.iter().map(|score| probability(score - bar.score)).collect();
    gate.table = table(&probabilities);
    Ok(Some(gate))
}

impl Training<'_> {
    pub(super) fn fit_gate(&self) -> Result<Option<Gate>> {
        // What others gain says nothing of a network without a memory.
        let prior = self.starter.as_ref().filter(|_| self.data.memory().is_some());
        let prior = prior.and_then(|starter| starter.gate.as_ref());
        let ask = Ask { hidden: self.job.shape.hidden, lambda: self.job.settings.lambda, prior };
        if !self.job.variant.gated() {
            return Ok(None);
        }
        if self.job.settings.cross_fit {
            let folds: Vec<Tokens> = (0..self.folds()).map(|fold| self.tokens(|f| f == fold)).collect();
            return cross_fitted(&folds, ask);
        }
        let [_, ridge, ..] = RIDGES;
        if self.gains.iter().all(|g| *g == 0.0) {
            return Ok(None);
        }
        self.tokens(|_| true).fit(ask, ridge).map(Some)
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
