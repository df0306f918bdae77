//! How much the votes count: a temperature, how much base's opinion of a token weighs its votes, and a logistic function
//! of four features (method, section 3; the second number is ours: 14 persona users, memory alone, always open, mean NLL
//! -8.34 % with it and -7.98 % without).

use super::rows::Neighbour;

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

/// What a mixer sees of base at a position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BaseView<'a> {
    /// Log-probabilities (V).
    log_probs: &'a [f32],
    /// In nats.
    pub(crate) entropy: f64,
}

impl<'a> BaseView<'a> {
    pub(crate) fn of(log_probs: &'a [f32]) -> Self {
        let entropy =
            -log_probs.iter().map(|l| f64::from(l.exp() * l)).filter(|v| v.is_finite()).sum::<f64>();
        Self { log_probs, entropy }
    }

    pub(crate) fn log_prob(&self, token: u32) -> f64 {
        f64::from(self.log_probs.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY))
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

    /// The votes of `neighbours`, nearest first.
    pub(crate) fn mix(&self, neighbours: &[Neighbour], base: &BaseView<'_>) -> Mixed {
        let Some(first) = neighbours.first() else { return Mixed::default() };
        let (tau, eta) = (self.tau(), self.eta());
        let mut votes: Vec<(u32, f64)> = Vec::new();
        let mut sum = 0.0;
        for n in neighbours {
            let near = f64::from(first.distance - n.distance) / tau;
            let weight = (near + eta * believed(base.log_prob(n.value))).exp();
            sum += weight;
            match votes.iter_mut().find(|(token, _)| *token == n.value) {
                Some((_, share)) => *share += weight,
                None => votes.push((n.value, weight)),
            }
        }
        let (token, top) =
            votes.iter().fold((0, 0.0), |best, vote| if vote.1 > best.1 { *vote } else { best });
        let features =
            features(f64::from(first.distance), tau, top / sum, base.entropy, base.log_prob(token));
        let shares = votes.into_iter().map(|(token, share)| (token, (share / sum) as f32)).collect();
        Mixed { m: self.share(&features) as f32, votes: shares }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_rows_vote_more_and_nobody_counts_nothing() {
        let base = [0.5f32.ln(), 0.25f32.ln(), 0.25f32.ln()];
        let base = BaseView::of(&base);
        assert!((base.entropy - 1.5 * 2f64.ln()).abs() < 1e-6);
        let mixer = Mixer([0.0; SIZE]);
        let near = |distance, value| Neighbour { distance, value };
        let mixed = mixer.mix(&[near(1.0, 2), near(1.0, 1), near(2.0, 2)], &base);
        assert_eq!(mixed.m, 0.5);
        let e = 1f32.exp();
        assert!((mixed.share(2) - (1.0 + 1.0 / e) / (2.0 + 1.0 / e)).abs() < 1e-6);
        assert!((mixed.votes.iter().map(|(_, s)| s).sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(mixer.mix(&[], &base), Mixed::default());
        // Token 0 is twice as probable as token 1: with eta 1 its vote weighs twice as much.
        let mixer = Mixer::from_numbers(&[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
        let mixed = mixer.mix(&[near(1.0, 0), near(1.0, 1)], &BaseView::of(&[0.5f32.ln(), 0.25f32.ln()]));
        assert!((mixed.share(0) - 2.0 / 3.0).abs() < 1e-6);
        assert_eq!(
            Mixer::from_numbers(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap().0,
            [1.0, 0.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        );
        assert_eq!((Mixer::from_numbers(&[1.0]), Mixer::from_numbers(&[f64::NAN; SIZE])), (None, None));
    }
}
