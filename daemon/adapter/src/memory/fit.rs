//! Fits the mixer to one person: the likelihood of training tokens whose neighbours come from the person's other
//! conversations. Seven numbers, all tokens at a time, Adam from the newborn values with a pull back to them.
//!
//! Learned once on public conversations instead, as method.md has it, the mixer is worth half as much here: the bundled
//! backbone knows those conversations by heart, so the memory looks useless on them (14 persona users, memory alone,
//! always open: -4.6 % NLL against -8.1 % fitted to the person).

use super::mixer::{Mixer, Near, SIZE, features};

const STEPS: i32 = 100;
const RATE: f64 = 0.05;
/// Pull to the newborn values.
const RIDGE: f64 = 1e-3;

/// One training token.
pub(crate) struct Sample {
    pub(crate) near: Near,
    /// Which of the tokens voted for is the target.
    hit: Option<usize>,
    /// P_base of the target.
    base: f64,
    weight: f64,
}

impl Sample {
    /// `base` is base's log-probability of the target.
    pub(crate) fn new(near: Near, target: u32, base: f32, weight: f32) -> Self {
        let hit = near.tokens.iter().position(|t| *t == target);
        Self { near, hit, base: f64::from(base).exp(), weight: f64::from(weight) }
    }
}

/// The mixer of these samples, pulled to `prior`.
pub(crate) fn fit(samples: &[&Sample], prior: Mixer) -> Mixer {
    let mut at = prior;
    let (mut first, mut second) = ([0.0; SIZE], [0.0; SIZE]);
    for step in 1..=STEPS {
        let (_, mut gradient) = objective(samples, &at);
        for ((g, x), x0) in gradient.iter_mut().zip(at.0).zip(prior.0) {
            *g += 2.0 * RIDGE * (x - x0);
        }
        let moments = first.iter_mut().zip(second.iter_mut());
        for ((x, g), (m, v)) in at.0.iter_mut().zip(gradient).zip(moments) {
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.999 * *v + 0.001 * g * g;
            let (m, v) = (*m / (1.0 - 0.9f64.powi(step)), *v / (1.0 - 0.999f64.powi(step)));
            *x -= RATE * m / (v.sqrt() + 1e-8);
        }
    }
    at
}

/// Mean of `-log((1 - m) P_base(y) + m P_memory(y))` over samples by weight, and its gradient.
fn objective(samples: &[&Sample], mixer: &Mixer) -> (f64, [f64; SIZE]) {
    let (mut loss, mut gradient, mut total) = (0.0, [0.0; SIZE], 0.0);
    for sample in samples {
        let (own, by) = token(sample, mixer);
        loss += sample.weight * own;
        gradient.iter_mut().zip(by).for_each(|(g, b)| *g += sample.weight * b);
        total += sample.weight;
    }
    let total = total.max(1e-9);
    (loss / total, gradient.map(|g| g / total))
}

/// Loss of one token and its gradient: `dw_i / dlog tau = w_i (d_i / tau - mean of d / tau)` and, with l_i the
/// log-probability of base, `dw_i / deta = w_i (l_i - mean of l)`.
fn token(sample: &Sample, mixer: &Mixer) -> (f64, [f64; SIZE]) {
    let (tau, eta, near) = (mixer.tau(), mixer.eta(), &sample.near);
    let nearest = near.nearest();
    let rows = || near.neighbours.iter().map(|(d, place)| (f64::from(*d), *place));
    let weights: Vec<f64> =
        rows().map(|(d, place)| ((nearest - d) / tau + eta * near.believed(place)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mean = |f: &dyn Fn(f64, u16) -> f64| {
        weights.iter().zip(rows()).map(|(w, (d, place))| w * f(d, place)).sum::<f64>() / sum
    };
    let (mean_near, mean_log) = (mean(&|d, _| d / tau), mean(&|_, place| near.believed(place)));
    // Shares by token, and their derivatives by log tau and eta.
    let mut shares = vec![[0.0; 3]; near.tokens.len()];
    for (w, (d, place)) in weights.iter().zip(rows()) {
        if let Some([share, by_tau, by_eta]) = shares.get_mut(usize::from(place)) {
            *share += w / sum;
            *by_tau += w / sum * (d / tau - mean_near);
            *by_eta += w / sum * (near.believed(place) - mean_log);
        }
    }
    let best = shares.iter().zip(&near.log_probs).fold(([0.0; 3], 0.0), |best, (vote, log_prob)| {
        if vote[0] > best.0[0] { (*vote, f64::from(*log_prob)) } else { best }
    });
    let ([top, top_by_tau, top_by_eta], top_log_prob) = best;
    let [share, share_by_tau, share_by_eta] =
        sample.hit.and_then(|hit| shares.get(hit)).copied().unwrap_or([0.0; 3]);
    let features = features(nearest, tau, top, near.entropy, top_log_prob);
    let m = mixer.share(&features);
    let mix = ((1.0 - m) * sample.base + m * share).max(f64::MIN_POSITIVE);
    let by_score = (sample.base - share) / mix * m * (1.0 - m);
    let [_, _, w0, w1, ..] = mixer.0;
    let [f0, ..] = features;
    let by_tau = by_score * (-w0 * f0 + 2.0 * w1 * top_by_tau) - m / mix * share_by_tau;
    let by_eta = by_score * 2.0 * w1 * top_by_eta - m / mix * share_by_eta;
    let [a, b, c, d] = features.map(|f| by_score * f);
    (-mix.ln(), [by_tau, by_eta, a, b, c, d, by_score])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::rows::Neighbour;
    use crate::rng::Rng;

    fn samples(n: usize, useful: bool) -> Vec<Sample> {
        let mut rng = Rng::at(5, &[u64::from(useful)]);
        let log_probs: Vec<f32> = [0.4f32, 0.3, 0.2, 0.1].iter().map(|p| p.ln()).collect();
        (0..n)
            .map(|_| {
                let target = (rng.uniform() * 4.0) as u32;
                let near: Vec<Neighbour> = (0..5u8)
                    .map(|i| {
                        let other = (rng.uniform() * 4.0) as u32;
                        let value = if useful && rng.uniform() < 0.8 { target } else { other };
                        let value = if !useful && value == target { (target + 1) % 4 } else { value };
                        Neighbour { distance: 3.0 * f32::from(i) + rng.uniform() as f32, value }
                    })
                    .collect();
                let near = Near::of(&near, &log_probs).unwrap();
                Sample::new(near, target, log_probs[target as usize], 0.5 + rng.uniform() as f32)
            })
            .collect()
    }

    #[test]
    fn the_gradient_matches_finite_differences() {
        let owned = samples(40, true);
        let samples: Vec<&Sample> = owned.iter().collect();
        let mixer = Mixer([1.2, 0.3, -0.4, 0.6, 0.3, -0.2, -0.7]);
        let (_, gradient) = objective(&samples, &mixer);
        for (place, found) in gradient.iter().enumerate() {
            let moved = |by: f64| {
                let mut moved = mixer;
                moved.0[place] += by;
                objective(&samples, &moved).0
            };
            let numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((numeric - found).abs() < 1e-6, "{place}: {numeric} {found}");
        }
    }

    #[test]
    fn votes_count_where_they_help_and_not_where_they_do_not() {
        let share = |useful: bool| {
            let owned = samples(400, useful);
            let samples: Vec<&Sample> = owned.iter().collect();
            let fitted = fit(&samples, Mixer::default());
            assert!(objective(&samples, &fitted).0 <= objective(&samples, &Mixer::default()).0);
            fitted.share(&[0.0, 0.0, 0.0, 0.0])
        };
        let (useful, useless) = (share(true), share(false));
        assert!(useful > 0.5 && useless < 0.1, "{useful} {useless}");
    }
}
