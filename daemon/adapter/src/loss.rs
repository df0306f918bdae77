//! The objective's gradient with respect to the logits of open positions, by hand (method, sections 4 and 8).
//!
//! Per token, with `S = softmax(logits)`, `F = (1 - m) S + m P_memory` and `mix = (1 - p) P_base(y) + p F(y)`:
//! loss `-log mix + kappa (1 - p) KL(P_base || F)`, gradient `w (S - onehot(y)) + kappa (1 - p) S (a - <S, a>)` with
//! `w = p (1 - m) S(y) / mix` and `a = -(1 - m) P_base / F`. Without memory the second term is `S - P_base`.

use crate::memory::Mixed;
use crate::simd::{log_sum, softmax};

/// What is fixed of a token.
pub(crate) struct Fixed<'a> {
    /// Base's log-probabilities (V), needed only where the anchor counts.
    pub(crate) base: Option<&'a [f32]>,
    /// Base's log-probability of the target.
    pub(crate) base_target: f32,
    pub(crate) target: u32,
    /// Votes of the memory.
    pub(crate) mixed: &'a Mixed,
    /// Minimise the loss that is expected instead of that of the mixture: `w = p (1 - m) S(y) / F(y)`.
    pub(crate) expected: bool,
}

/// Turns `logits` (V) into the gradient in place, scaled by `scale`. Returns the token's loss without the anchor, in
/// nats.
pub(crate) fn gradient(logits: &mut [f32], fixed: &Fixed<'_>, p: f32, kappa: f32, scale: f32) -> f32 {
    softmax(logits);
    let at = fixed.target as usize;
    let m = fixed.mixed.m;
    let side = (1.0 - m) * logits.get(at).copied().unwrap_or(0.0).max(f32::MIN_POSITIVE);
    let fused = side + m * fixed.mixed.share(fixed.target);
    let mix = (1.0 - p) * fixed.base_target.exp() + p * fused;
    let w = p * side / if fixed.expected { fused } else { mix };
    let anchor = kappa * (1.0 - p);
    match fixed.base {
        Some(base) if anchor > 0.0 => {
            let slopes = slopes(logits, base, fixed.mixed);
            let mean: f32 = logits.iter().zip(&slopes).map(|(s, a)| s * a).sum();
            for (s, a) in logits.iter_mut().zip(&slopes) {
                *s = scale * (w * *s + anchor * *s * (a - mean));
            }
        }
        _ => logits.iter_mut().for_each(|s| *s *= scale * w),
    }
    if let Some(at) = logits.get_mut(at) {
        *at -= scale * w;
    }
    -mix.ln()
}

/// a: the anchor's derivative by S.
fn slopes(side: &[f32], base: &[f32], mixed: &Mixed) -> Vec<f32> {
    let own = 1.0 - mixed.m;
    let slope =
        |s: f32, b: f32, voted: f32| -own * b.exp() / (own * s + mixed.m * voted).max(f32::MIN_POSITIVE);
    let mut slopes: Vec<f32> = side.iter().zip(base).map(|(s, b)| slope(*s, *b, 0.0)).collect();
    for (token, share) in &mixed.votes {
        let token = *token as usize;
        if let (Some(a), Some(s), Some(b)) = (slopes.get_mut(token), side.get(token), base.get(token)) {
            *a = slope(*s, *b, *share);
        }
    }
    slopes
}

/// Log-probability of `target` and the most probable token, from logits and the votes of the memory.
pub(crate) fn score(logits: &[f32], target: usize, mixed: &Mixed) -> (f64, usize) {
    let (mut best, mut largest) = (0, f32::NEG_INFINITY);
    for (id, logit) in logits.iter().enumerate() {
        if *logit > largest {
            (best, largest) = (id, *logit);
        }
    }
    let all = log_sum(logits);
    let log = |id: usize| f64::from(logits.get(id).copied().unwrap_or(f32::NEG_INFINITY)) - all;
    if mixed.votes.is_empty() {
        return (log(target), best);
    }
    let m = f64::from(mixed.m);
    let fused = |id: usize, share: f32| (1.0 - m) * log(id).exp() + m * f64::from(share);
    let target_share = u32::try_from(target).map_or(0.0, |token| mixed.share(token));
    let voted = mixed.votes.iter().map(|(token, share)| (*token as usize, fused(*token as usize, *share)));
    let unvoted = (best, fused(best, 0.0));
    let best = voted.fold(unvoted, |best, vote| if vote.1 > best.1 { vote } else { best }).0;
    (fused(target, target_share).max(f64::MIN_POSITIVE).ln(), best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn loss(
        logits: &[f64],
        base: &[f64],
        y: usize,
        (p, kappa, expected): (f64, f64, bool),
        mixed: &Mixed,
    ) -> f64 {
        let sum: f64 = logits.iter().map(|l| l.exp()).sum();
        let m = f64::from(mixed.m);
        let fused = |(v, l): (usize, &f64)| (1.0 - m) * l.exp() / sum + m * f64::from(mixed.share(v as u32));
        let s: Vec<f64> = logits.iter().enumerate().map(fused).collect();
        let kl: f64 = base.iter().zip(&s).map(|(b, s)| b.exp() * (b - s.ln())).sum();
        let mixture = -((1.0 - p) * base[y].exp() + p * s[y]).ln();
        let mean = -(1.0 - p) * base[y] - p * s[y].ln();
        let own = if expected { mean } else { mixture };
        own + kappa * (1.0 - p) * kl
    }

    #[test]
    fn matches_finite_differences() {
        let mut rng = Rng::at(3, &[]);
        let votes = Mixed { m: 0.4, votes: vec![(4, 0.7), (1, 0.3)] };
        let cases =
            [(1.0, 0.3, false), (0.0, 0.3, false), (0.4, 0.0, false), (0.7, 0.5, false), (0.7, 0.5, true)];
        for (mixed, (p, kappa, expected)) in
            [Mixed::default(), votes].iter().flat_map(|m| cases.map(|c| (m, c)))
        {
            let logits: Vec<f64> = (0..9).map(|_| 2.0 * rng.normal()).collect();
            let raw: Vec<f64> = (0..9).map(|_| rng.normal()).collect();
            let sum: f64 = raw.iter().map(|l| l.exp()).sum();
            let base: Vec<f64> = raw.iter().map(|l| l - sum.ln()).collect();
            let base32: Vec<f32> = base.iter().map(|b| *b as f32).collect();
            let mut found: Vec<f32> = logits.iter().map(|l| *l as f32).collect();
            let fixed = Fixed { base: Some(&base32), base_target: base32[4], target: 4, mixed, expected };
            gradient(&mut found, &fixed, p as f32, kappa as f32, 1.0);
            for place in 0..9 {
                let moved = |by: f64| {
                    let mut logits = logits.clone();
                    logits[place] += by;
                    loss(&logits, &base, 4, (p, kappa, expected), mixed)
                };
                let numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!(
                    (numeric - f64::from(found[place])).abs() < 1e-5,
                    "{p} {kappa}: {numeric} {}",
                    found[place]
                );
            }
        }
    }

    #[test]
    fn score_is_a_log_softmax() {
        let (log, best) = score(&[1.0, 3.0, 3.0], 0, &Mixed::default());
        assert_eq!(best, 1);
        assert!((log - (1.0 - (1f64.exp() + 2.0 * 3f64.exp()).ln())).abs() < 1e-6);
        let mixed = Mixed { m: 0.5, votes: vec![(0, 1.0)] };
        let (fused, best) = score(&[1.0, 3.0, 3.0], 0, &mixed);
        assert_eq!(best, 0);
        assert!((fused - (0.5 * log.exp() + 0.5).ln()).abs() < 1e-6);
    }
}
