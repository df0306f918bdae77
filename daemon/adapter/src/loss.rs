//! The objective's gradient with respect to the logits of open positions, by hand (method, sections 4 and 8).
//!
//! Per token, `mix = (1 - p) P_base(y) + p S(y)` with `S = softmax(logits)`:
//! loss `-log mix + kappa (1 - p) KL(P_base || S)`, gradient `w (S - onehot(y)) + kappa (1 - p) (S - P_base)` with
//! `w = p S(y) / mix`. Without personal memory this is section 8's formula at m = 0.

/// Turns `logits` (V) into the gradient in place, scaled by `scale`; `base` are base's log-probabilities (V), needed
/// only where the anchor counts. Returns the token's loss without the anchor, in nats.
pub(crate) fn gradient(
    logits: &mut [f32],
    base: Option<&[f32]>,
    base_target: f32,
    target: usize,
    p: f32,
    kappa: f32,
    scale: f32,
) -> f32 {
    softmax(logits);
    let side = logits.get(target).copied().unwrap_or(0.0).max(f32::MIN_POSITIVE);
    let mix = (1.0 - p) * base_target.exp() + p * side;
    let w = p * side / mix;
    let anchor = kappa * (1.0 - p);
    match base {
        Some(base) if anchor > 0.0 => {
            for (s, b) in logits.iter_mut().zip(base) {
                *s = scale * (w * *s + anchor * (*s - b.exp()));
            }
        }
        _ => logits.iter_mut().for_each(|s| *s *= scale * w),
    }
    if let Some(at) = logits.get_mut(target) {
        *at -= scale * w;
    }
    -mix.ln()
}

/// In place; the sum in f64.
fn softmax(logits: &mut [f32]) {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |m, l| m.max(*l));
    let mut sum = 0.0f64;
    for logit in logits.iter_mut() {
        *logit = (*logit - largest).exp();
        sum += f64::from(*logit);
    }
    let inverse = (1.0 / sum) as f32;
    logits.iter_mut().for_each(|l| *l *= inverse);
}

/// Log-probability of `target` and the most probable token, from logits.
pub(crate) fn score(logits: &[f32], target: usize) -> (f64, usize) {
    let (mut best, mut largest) = (0, f32::NEG_INFINITY);
    for (id, logit) in logits.iter().enumerate() {
        if *logit > largest {
            (best, largest) = (id, *logit);
        }
    }
    let sum: f64 = logits.iter().map(|l| f64::from((l - largest).exp())).sum();
    let own = logits.get(target).copied().unwrap_or(f32::NEG_INFINITY);
    (f64::from(own - largest) - sum.ln(), best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn loss(logits: &[f64], base: &[f64], y: usize, p: f64, kappa: f64) -> f64 {
        let sum: f64 = logits.iter().map(|l| l.exp()).sum();
        let s: Vec<f64> = logits.iter().map(|l| l.exp() / sum).collect();
        let kl: f64 = base.iter().zip(&s).map(|(b, s)| b.exp() * (b - s.ln())).sum();
        -((1.0 - p) * base[y].exp() + p * s[y]).ln() + kappa * (1.0 - p) * kl
    }

    #[test]
    fn matches_finite_differences() {
        let mut rng = Rng::at(3, &[]);
        for (p, kappa) in [(1.0, 0.3), (0.0, 0.3), (0.4, 0.0), (0.7, 0.5)] {
            let logits: Vec<f64> = (0..9).map(|_| 2.0 * rng.normal()).collect();
            let raw: Vec<f64> = (0..9).map(|_| rng.normal()).collect();
            let sum: f64 = raw.iter().map(|l| l.exp()).sum();
            let base: Vec<f64> = raw.iter().map(|l| l - sum.ln()).collect();
            let base32: Vec<f32> = base.iter().map(|b| *b as f32).collect();
            let mut found: Vec<f32> = logits.iter().map(|l| *l as f32).collect();
            gradient(&mut found, Some(&base32), base32[4], 4, p as f32, kappa as f32, 1.0);
            for place in 0..9 {
                let moved = |by: f64| {
                    let mut logits = logits.clone();
                    logits[place] += by;
                    loss(&logits, &base, 4, p, kappa)
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
        let (log, best) = score(&[1.0, 3.0, 3.0], 0);
        assert_eq!(best, 1);
        assert!((log - (1.0 - (1f64.exp() + 2.0 * 3f64.exp()).ln())).abs() < 1e-6);
    }
}
