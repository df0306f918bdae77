//! Sampling, shared by both ends: log P, temperature, top-k, top-p, then Gumbel noise and the largest wins
//! (method, sections 6 and 8). A choice is a pure function of the logits and the seed.

mod noise;

use crate::proto;
use noise::{Place, gumbel};
use std::cmp::Ordering;

/// How one answer is sampled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// 0 is greedy.
    pub temperature: f32,
    /// Keep the k most probable tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the smallest set whose probability reaches this; 1 keeps all.
    pub top_p: f32,
    /// Seed of the conversation.
    pub seed: u64,
    /// Number of the turn in its conversation.
    pub turn: u32,
    /// Number of the attempt at this turn.
    pub attempt: u32,
}

impl Sampler {
    /// The token for position `index` of the answer from base or fused log-probabilities over the vocabulary.
    /// Ties go to the smaller id. Values that are not numbers never win; 0 for an empty slice.
    #[must_use]
    pub fn choose(&self, log_probs: &[f32], index: u32) -> u32 {
        if self.temperature <= 0.0 {
            return best(log_probs.iter().copied().enumerate());
        }
        let place = Place { seed: self.seed, turn: self.turn, attempt: self.attempt, index };
        let kept = self.kept(log_probs);
        best(kept.into_iter().map(|(id, scaled)| (id, scaled + gumbel(place, id as u32))))
    }

    /// Tokens that survive top-k and top-p, with `log P / T`.
    fn kept(&self, log_probs: &[f32]) -> Vec<(usize, f32)> {
        let mut kept: Vec<(usize, f32)> = log_probs
            .iter()
            .enumerate()
            .filter(|(_, l)| l.is_finite())
            .map(|(id, l)| (id, l / self.temperature))
            .collect();
        let k = if self.top_k == 0 { kept.len() } else { self.top_k as usize };
        if k < kept.len() {
            kept.select_nth_unstable_by(k, descending);
            kept.truncate(k);
        }
        if self.top_p < 1.0 {
            kept.sort_unstable_by(descending);
            kept.truncate(nucleus(&kept, self.top_p));
        }
        kept
    }
}

/// How many of the sorted entries reach the probability `top_p`; at least one.
fn nucleus(sorted: &[(usize, f32)], top_p: f32) -> usize {
    let Some((_, largest)) = sorted.first() else { return 0 };
    let weights: Vec<f64> = sorted.iter().map(|(_, l)| f64::from(l - largest).exp()).collect();
    let wanted = f64::from(top_p.max(0.0)) * weights.iter().sum::<f64>();
    let mut sum = 0.0;
    let below = weights.iter().take_while(|w| {
        sum += **w;
        sum < wanted
    });
    (below.count() + 1).min(sorted.len())
}

fn descending(a: &(usize, f32), b: &(usize, f32)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

fn best(scores: impl Iterator<Item = (usize, f32)>) -> u32 {
    let largest = scores.filter(|(_, s)| !s.is_nan()).min_by(descending);
    largest.map_or(0, |(id, _)| id as u32)
}

/// Turns logits into log-probabilities in place, summing in index order so that both ends get the same bits.
pub fn log_softmax(logits: &mut [f32]) {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |m, l| m.max(*l));
    let sum: f64 = logits.iter().map(|l| f64::from(l - largest).exp()).sum();
    let shift = (f64::from(largest) + sum.ln()) as f32;
    for logit in logits {
        *logit -= shift;
    }
}

/// The `n` most probable tokens, most probable first.
#[must_use]
pub fn top(log_probs: &[f32], n: usize) -> Vec<proto::Candidate> {
    let mut all: Vec<(usize, f32)> =
        log_probs.iter().copied().enumerate().filter(|(_, l)| !l.is_nan()).collect();
    if n < all.len() {
        all.select_nth_unstable_by(n, descending);
        all.truncate(n);
    }
    all.sort_unstable_by(descending);
    all.into_iter().map(|(id, logprob)| proto::Candidate { id: id as u32, logprob }).collect()
}

impl From<&proto::Sampling> for Sampler {
    fn from(wire: &proto::Sampling) -> Self {
        Self {
            temperature: wire.temperature,
            top_k: wire.top_k,
            top_p: wire.top_p,
            seed: wire.seed,
            turn: wire.turn,
            attempt: wire.attempt,
        }
    }
}

impl From<&Sampler> for proto::Sampling {
    fn from(sampler: &Sampler) -> Self {
        Self {
            temperature: sampler.temperature,
            top_k: sampler.top_k,
            top_p: sampler.top_p,
            seed: sampler.seed,
            turn: sampler.turn,
            attempt: sampler.attempt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Sampler = Sampler { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 1, turn: 0, attempt: 0 };

    fn log_probs(weights: &[f32]) -> Vec<f32> {
        let mut logits: Vec<f32> = weights.iter().map(|w| w.ln()).collect();
        log_softmax(&mut logits);
        logits
    }

    /// Shares of the tokens over many positions.
    fn shares(sampler: Sampler, log_probs: &[f32]) -> Vec<f64> {
        let mut counts = vec![0.0; log_probs.len()];
        for index in 0..40_000 {
            counts[sampler.choose(log_probs, index) as usize] += 1.0 / 40_000.0;
        }
        counts
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        let shares = shares(PLAIN, &log_probs(&[1.0, 2.0, 3.0, 4.0]));
        for (share, expected) in shares.iter().zip([0.1, 0.2, 0.3, 0.4]) {
            assert!((share - expected).abs() < 0.01, "{shares:?}");
        }
    }

    #[test]
    fn temperature_top_k_and_top_p_shape_the_choice() {
        let lp = log_probs(&[1.0, 2.0, 3.0, 4.0]);
        let cold = shares(Sampler { temperature: 0.5, ..PLAIN }, &lp);
        assert!((cold[3] - 16.0 / 30.0).abs() < 0.01);
        let two = shares(Sampler { top_k: 2, ..PLAIN }, &lp);
        assert_eq!(two[0] + two[1], 0.0);
        assert!((two[3] - 4.0 / 7.0).abs() < 0.01);
        let nucleus = shares(Sampler { top_p: 0.69, ..PLAIN }, &lp);
        assert_eq!(nucleus[0] + nucleus[1], 0.0);
        assert_eq!(Sampler { top_p: 0.0, ..PLAIN }.choose(&lp, 0), 3);
    }

    #[test]
    fn every_part_of_the_key_changes_the_noise() {
        let lp = log_probs(&[1.0; 64]);
        let row = |s: Sampler| (0..32).map(|i| s.choose(&lp, i)).collect::<Vec<_>>();
        let plain = row(PLAIN);
        assert_eq!(plain, row(PLAIN));
        for other in [
            Sampler { seed: 2, ..PLAIN },
            Sampler { seed: 1 << 40, ..PLAIN },
            Sampler { turn: 1, ..PLAIN },
            Sampler { attempt: 1, ..PLAIN },
        ] {
            assert_ne!(plain, row(other));
        }
    }

    #[test]
    fn greedy_takes_the_first_of_equals_and_skips_nan() {
        let greedy = Sampler { temperature: 0.0, ..PLAIN };
        assert_eq!(greedy.choose(&[f32::NAN, 1.0, 2.0, 2.0], 0), 2);
        assert_eq!(greedy.choose(&[], 0), 0);
        assert_eq!(PLAIN.choose(&[f32::NAN, f32::NAN], 0), 0);
    }

    proptest! {
        #[test]
        fn log_softmax_normalises(mut logits in proptest::collection::vec(-80f32..80.0, 1..300)) {
            log_softmax(&mut logits);
            let sum: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-4, "{}", sum);
        }

        #[test]
        fn top_is_the_head_of_the_full_order(logits in proptest::collection::vec(-9f32..9.0, 1..60), n in 0usize..8) {
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
            order.truncate(n);
            let found: Vec<usize> = top(&logits, n).iter().map(|c| c.id as usize).collect();
            prop_assert_eq!(found, order);
        }

        #[test]
        fn a_choice_survives_top_k(logits in proptest::collection::vec(-9f32..9.0, 5..60), index in 0u32..1000) {
            let sampler = Sampler { top_k: 5, ..PLAIN };
            let id = sampler.choose(&logits, index);
            prop_assert!(top(&logits, 5).iter().any(|c| c.id == id));
        }
    }
}
