//! How much the votes count: a temperature, how much base's opinion of a token weighs its votes, and a logistic function
//! of four features (method, section 3; the second number is ours: 14 persona users, memory alone, always open, mean NLL
//! -8.34 % with it and -7.98 % without).

use super::rows::Neighbour;
use crate::simd::entropy;

/// Numbers of a mixer: log tau, eta, four weights, bias. Row i votes with `exp(-d_i^2 / tau) P_base(value_i)^eta`.
pub(crate) const SIZE: usize = 7;
/// Before a fit: tau a tenth of the mean square of a key, a fifth of the probability.
const NEWBORN: [f64; SIZE] = [1.856, 0.0, 0.0, 0.0, 0.0, 0.0, -1.4];

/// The numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mixer(pub(crate) [f64; SIZE]);

impl Default for Mixer {
    fn default() -> Self {
        Self(NEWBORN)
    }
}

/// What a mixer sees at a position: the rows near it, and what base thinks of their tokens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Near {
    /// Nearest first: squared distance, place of the token it votes for.
    pub(super) neighbours: Vec<(f32, u16)>,
    /// Tokens voted for, in the order of their nearest row.
    pub(crate) tokens: Vec<u32>,
    /// Base's log-probabilities of them.
    pub(super) log_probs: Vec<f32>,
    /// Of base, in nats.
    pub(super) entropy: f64,
}

impl Near {
    /// From rows, nearest first, and base's log-probabilities (V); `None` where nobody votes.
    pub(crate) fn of(rows: &[Neighbour], base: &[f32]) -> Option<Self> {
        let mut tokens: Vec<u32> = Vec::new();
        let place = |n: &Neighbour| {
            let place = tokens.iter().position(|t| *t == n.value).unwrap_or_else(|| {
                tokens.push(n.value);
                tokens.len() - 1
            });
            (n.distance, place as u16)
        };
        let neighbours: Vec<_> = rows.iter().map(place).collect();
        let log_prob = |t: &u32| base.get(*t as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let log_probs = tokens.iter().map(log_prob).collect();
        (!neighbours.is_empty()).then_some(Self { neighbours, tokens, log_probs, entropy: entropy(base) })
    }

    /// Squared distance of the nearest row.
    pub(super) fn nearest(&self) -> f64 {
        self.neighbours.first().map_or(0.0, |(distance, _)| f64::from(*distance))
    }

    /// Base's log-probability of the token at a place, as votes are weighed with it.
    pub(super) fn believed(&self, place: u16) -> f64 {
        believed(self.log_probs.get(usize::from(place)).map_or(f64::NEG_INFINITY, |l| f64::from(*l)))
    }
}

/// Votes and what they count at one position.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mixed {
    /// m in [0, 1); 0 where nobody votes.
    pub(crate) m: f32,
    /// P_memory: tokens with their shares, which sum to 1.
    pub(crate) votes: Vec<(u32, f32)>,
}

impl Mixed {
    /// `log((1 - m) exp(l) + m P_memory)` in place, on log-probabilities (V).
    pub fn fuse(&self, log_probs: &mut [f32]) {
        if self.votes.is_empty() {
            return;
        }
        let own = (1.0 - self.m).ln();
        log_probs.iter_mut().for_each(|l| *l += own);
        for (token, share) in &self.votes {
            if let Some(l) = log_probs.get_mut(*token as usize) {
                *l = (l.exp() + self.m * share).ln();
            }
        }
    }

    /// P_memory of a token.
    pub(crate) fn share(&self, token: u32) -> f32 {
        self.votes.iter().find(|(voted, _)| *voted == token).map_or(0.0, |(_, share)| *share)
    }
}

/// The features of a position: nearest distance, weight of the top vote, entropy of base, log P_base of the top vote;
/// each shifted and scaled to about [-1, 1].
pub(super) fn features(nearest: f64, tau: f64, top: f64, entropy: f64, top_log_prob: f64) -> [f64; 4] {
    [0.1 * nearest / tau, 2.0 * top - 1.0, entropy / 3.0 - 1.0, believed(top_log_prob) / 4.0 + 1.0]
}

/// A log-probability of base as votes are weighed with it: not below what is next to impossible.
pub(super) fn believed(log_prob: f64) -> f64 {
    log_prob.max(-20.0)
}

impl Mixer {
    pub(super) fn tau(&self) -> f64 {
        self.0[0].exp()
    }

    pub(super) fn eta(&self) -> f64 {
        self.0[1]
    }

    /// From stored numbers; version 0.1.0 had no eta.
    pub(crate) fn from_numbers(numbers: &[f64]) -> Option<Self> {
        let all = match *numbers {
            [tau, a, b, c, d, bias] => [tau, 0.0, a, b, c, d, bias],
            _ => numbers.try_into().ok()?,
        };
        all.iter().all(|n| n.is_finite()).then_some(Self(all))
    }

    /// m of the features.
    pub(super) fn share(&self, features: &[f64; 4]) -> f64 {
        let [_, _, weights @ .., bias] = &self.0;
        let score: f64 = weights.iter().zip(features).map(|(w, f)| w * f).sum::<f64>() + bias;
        1.0 / (1.0 + (-score).exp())
    }

    /// The votes at a position.
    pub(crate) fn mix(&self, near: &Near) -> Mixed {
        let (tau, eta, nearest) = (self.tau(), self.eta(), near.nearest());
        let mut votes = vec![0.0; near.tokens.len()];
        let mut sum = 0.0;
        for (distance, place) in &near.neighbours {
            let closer = (nearest - f64::from(*distance)) / tau;
            let weight = (closer + eta * near.believed(*place)).exp();
            sum += weight;
            if let Some(vote) = votes.get_mut(usize::from(*place)) {
                *vote += weight;
            }
        }
        let best = votes.iter().zip(&near.log_probs);
        let (top, log_prob) = best
            .fold((0.0, 0.0), |best, (vote, l)| if *vote > best.0 { (*vote, f64::from(*l)) } else { best });
        let features = features(nearest, tau, top / sum, near.entropy, log_prob);
        let shares =
            near.tokens.iter().zip(votes).map(|(token, vote)| (*token, (vote / sum) as f32)).collect();
        Mixed { m: self.share(&features) as f32, votes: shares }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_rows_vote_more_and_nobody_counts_nothing() {
        let base = [0.5f32.ln(), 0.25f32.ln(), 0.25f32.ln()];
        let mixer = Mixer([0.0; SIZE]);
        let near = |distance, value| Neighbour { distance, value };
        let seen = Near::of(&[near(1.0, 2), near(1.0, 1), near(2.0, 2)], &base).unwrap();
        assert!((seen.entropy - 1.5 * 2f64.ln()).abs() < 1e-6);
        let mixed = mixer.mix(&seen);
        assert_eq!(mixed.m, 0.5);
        let e = 1f32.exp();
        assert!((mixed.share(2) - (1.0 + 1.0 / e) / (2.0 + 1.0 / e)).abs() < 1e-6);
        assert!((mixed.votes.iter().map(|(_, s)| s).sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(Near::of(&[], &base), None);
        // Token 0 is twice as probable as token 1: with eta 1 its vote weighs twice as much.
        let mixer = Mixer::from_numbers(&[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
        let base = [0.5f32.ln(), 0.25f32.ln()];
        let mixed = mixer.mix(&Near::of(&[near(1.0, 0), near(1.0, 1)], &base).unwrap());
        assert!((mixed.share(0) - 2.0 / 3.0).abs() < 1e-6);
        assert_eq!(
            Mixer::from_numbers(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap().0,
            [1.0, 0.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        );
        assert_eq!((Mixer::from_numbers(&[1.0]), Mixer::from_numbers(&[f64::NAN; SIZE])), (None, None));
    }
}
