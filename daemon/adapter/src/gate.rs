//! The gate M_c: a linear classifier on z (method, section 1), and its fit by cost-weighted logistic regression
//! (section 4): convex, so that it opens exactly where the expected gain exceeds the price.

use crate::error::{AdapterError, Result};
use aside_codec::budget;

/// Gains are clipped to this many nats before they weigh a token.
const GAIN_LIMIT: f64 = 5.0;
const ITERATIONS: usize = 200;

/// `p = softmax(weight z + bias)[1]`; open where p is above max(0.5, threshold).
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// 2 x H, row-major.
    pub weight: Vec<f32>,
    /// One for closed, one for open.
    pub bias: [f32; 2],
    /// Threshold of the user's budget; 0.5 and below change nothing.
    pub threshold: f32,
    /// Largest share of open positions of an answer, whatever the threshold lets through; 1 sets no limit. Not stored: it is
    /// the user's, not the version's.
    pub budget: f32,
    /// Threshold -> open rate on tokens the gate was not fitted on, thresholds rising.
    pub table: Vec<(f32, f32)>,
}

impl Gate {
    /// Gate probability of one position; `z` has H values.
    #[must_use]
    pub fn probability(&self, z: &[f32]) -> f32 {
        probability(self.score(z))
    }

    /// Log-odds of opening at one position.
    pub(crate) fn score(&self, z: &[f32]) -> f32 {
        let (closed, open) = self.weight.split_at(self.weight.len() / 2);
        let dot = |row: &[f32]| row.iter().zip(z).map(|(a, b)| a * b).sum::<f32>();
        (dot(open) + self.bias[1]) - (dot(closed) + self.bias[0])
    }

    /// sigma: the hard choice.
    #[must_use]
    pub fn opens(&self, p: f32) -> bool {
        p > self.threshold.max(0.5)
    }

    /// The same at position `index` of an answer with `opened` open ones before it.
    #[must_use]
    pub fn opens_at(&self, p: f32, index: u32, opened: u32) -> bool {
        self.opens(p) && budget::allows(self.budget, index, opened)
    }

    /// The same, held to a budget: by the threshold that kept it on tokens the gate was not fitted on, and by counting.
    #[must_use]
    pub fn within(mut self, budget: f32) -> Self {
        if budget < 1.0 {
            self.threshold = self.threshold.max(self.threshold_for(budget));
            self.budget = budget;
        }
        self
    }

    /// The smallest threshold of the table whose open rate stays within `budget` (a share); 0.5 without a table.
    #[must_use]
    pub fn threshold_for(&self, budget: f32) -> f32 {
        let fitting = self.table.iter().find(|(_, rate)| *rate <= budget);
        fitting.or(self.table.last()).map_or(0.5, |(threshold, _)| threshold.max(0.5))
    }
}

/// The probability of log-odds.
pub(crate) fn probability(score: f32) -> f32 {
    1.0 / (1.0 + (-score).exp())
}

/// Tokens to fit on.
pub(crate) struct Samples<'a> {
    /// n x H.
    pub(crate) z: &'a [f32],
    pub(crate) hidden: usize,
    /// D = l_b - l_f in nats, one a token.
    pub(crate) gain: &'a [f64],
    /// Lesson weight, one a token.
    pub(crate) weight: &'a [f64],
}

/// Logistic regression on standardised z with weights `|D - lambda|` and targets `D > lambda`, ridge on the
/// standardised weights but not on the bias; accelerated gradient descent from zero, a fixed number of steps. With a
/// `prior` the ridge pulls to its weights, and the descent begins there.
pub(crate) fn fit(samples: &Samples<'_>, lambda: f64, ridge: f64, prior: Option<&Gate>) -> Result<Gate> {
    let n = samples.gain.len();
    let h = samples.hidden;
    if n == 0 || samples.z.len() != n * h || samples.weight.len() != n {
        return Err(AdapterError::Nothing("no token to fit the gate on".into()));
    }
    let (mean, inverse) = moments(samples.z, h);
    let x: Vec<f32> = samples
        .z
        .chunks_exact(h)
        .flat_map(|row| {
            row.iter().zip(mean.iter().zip(&inverse)).map(|(v, (m, i))| ((f64::from(*v) - m) * i) as f32)
        })
        .collect();
    let cost: Vec<f64> = samples
        .gain
        .iter()
        .zip(samples.weight)
        .map(|(d, w)| w * (d.clamp(-GAIN_LIMIT, GAIN_LIMIT) - lambda).abs())
        .collect();
    let total: f64 = cost.iter().sum::<f64>().max(1e-9);
    let cost: Vec<f64> = cost.iter().map(|c| c / total).collect();
    let target: Vec<f64> = samples.gain.iter().map(|d| f64::from(u8::from(*d > lambda))).collect();
    let offset: Vec<f64> = match prior {
        Some(prior) => samples.z.chunks_exact(h).map(|z| f64::from(prior.score(z))).collect(),
        None => vec![0.0; n],
    };
    let solution = descend(&x, h, Targets { cost: &cost, target: &target, offset: &offset }, ridge);
    let mut gate = unstandardised(&solution, &mean, &inverse);
    if let Some(prior) = prior {
        gate.weight.iter_mut().zip(&prior.weight).for_each(|(w, p)| *w += p);
        gate.bias.iter_mut().zip(prior.bias).for_each(|(b, p)| *b += p);
    }
    Ok(gate)
}

/// Mean and inverse standard deviation of every feature.
fn moments(z: &[f32], h: usize) -> (Vec<f64>, Vec<f64>) {
    let n = (z.len() / h) as f64;
    let (mut mean, mut square) = (vec![0.0; h], vec![0.0; h]);
    for row in z.chunks_exact(h) {
        for ((m, s), v) in mean.iter_mut().zip(&mut square).zip(row) {
            *m += f64::from(*v) / n;
            *s += f64::from(*v) * f64::from(*v) / n;
        }
    }
    let inverse = mean.iter().zip(&square).map(|(m, s)| 1.0 / (s - m * m).max(1e-8).sqrt()).collect();
    (mean, inverse)
}

/// What every row is fitted to.
struct Targets<'a> {
    cost: &'a [f64],
    /// 1 where opening pays.
    target: &'a [f64],
    /// Log-odds that are there without any weight.
    offset: &'a [f64],
}

/// Returns h weights and a bias behind them.
fn descend(x: &[f32], h: usize, targets: Targets<'_>, ridge: f64) -> Vec<f64> {
    let Targets { cost, target, offset } = targets;
    let step = 1.0 / (0.25 * largest_eigenvalue(x, h, cost) + ridge);
    let mut at = vec![0.0; h + 1];
    let mut ahead = at.clone();
    for t in 0..ITERATIONS {
        let weights: Vec<f32> = ahead.iter().map(|w| *w as f32).collect();
        let mut sum = vec![0f32; h + 1];
        for (((row, c), y), o) in x.chunks_exact(h).zip(cost).zip(target).zip(offset) {
            let score = f64::from(dot(&weights, row)) + o;
            let residual = c * (1.0 / (1.0 + (-score).exp()) - y);
            add(&mut sum, row, residual as f32);
        }
        let penalised = ahead.iter().take(h).map(|w| ridge * w).chain([0.0]);
        let gradient: Vec<f64> = sum.iter().zip(penalised).map(|(g, r)| f64::from(*g) + r).collect();
        let next: Vec<f64> = ahead.iter().zip(&gradient).map(|(w, g)| w - step * g).collect();
        let momentum = t as f64 / (t as f64 + 3.0);
        ahead = next.iter().zip(&at).map(|(new, old)| new + momentum * (new - old)).collect();
        at = next;
    }
    at
}

/// Of the cost-weighted second moments of the features and the constant, by power iteration; a little more, for safety.
fn largest_eigenvalue(x: &[f32], h: usize, cost: &[f64]) -> f64 {
    let mut v = vec![1.0 / ((h + 1) as f32).sqrt(); h + 1];
    let mut value = 1.0;
    for _ in 0..20 {
        let mut product = vec![0f32; h + 1];
        for (row, c) in x.chunks_exact(h).zip(cost) {
            add(&mut product, row, *c as f32 * dot(&v, row));
        }
        value = product.iter().map(|p| f64::from(*p).powi(2)).sum::<f64>().sqrt().max(1e-12);
        v = product.iter().map(|p| *p / value as f32).collect();
    }
    value * 1.1
}

/// Product of weights and a bias with a row and 1; eight sums, so that it runs in vector registers.
fn dot(weights: &[f32], row: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    let (w, r) = (weights.chunks_exact(8), row.chunks_exact(8));
    let rest: f32 = r.remainder().iter().rev().zip(weights.iter().rev().skip(1)).map(|(a, b)| a * b).sum();
    for (w, r) in w.zip(r) {
        for ((sum, a), b) in sums.iter_mut().zip(w).zip(r) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest + weights.last().copied().unwrap_or(0.0)
}

fn add(sum: &mut [f32], row: &[f32], factor: f32) {
    for (s, v) in sum.iter_mut().zip(row) {
        *s += factor * v;
    }
    if let Some(bias) = sum.last_mut() {
        *bias += factor;
    }
}

fn unstandardised(solution: &[f64], mean: &[f64], inverse: &[f64]) -> Gate {
    let scaled: Vec<f64> = solution.iter().zip(inverse).map(|(w, i)| w * i).collect();
    let shift: f64 = scaled.iter().zip(mean).map(|(w, m)| w * m).sum();
    let bias = solution.last().copied().unwrap_or(0.0) - shift;
    let closed = std::iter::repeat_n(0.0, scaled.len());
    Gate {
        weight: closed.chain(scaled.iter().map(|w| *w as f32)).collect(),
        bias: [0.0, bias as f32],
        threshold: 0.5,
        budget: 1.0,
        table: Vec::new(),
    }
}

/// The table threshold -> open rate of probabilities on tokens the gate was not fitted on, in steps of 5 %.
pub(crate) fn table(probabilities: &[f32]) -> Vec<(f32, f32)> {
    let n = probabilities.len().max(1) as f32;
    let rate = |threshold: f32| probabilities.iter().filter(|p| **p > threshold).count() as f32 / n;
    let mut sorted = probabilities.to_vec();
    sorted.sort_by(f32::total_cmp);
    let quantiles = (0..20).filter_map(|k| sorted.get(k * sorted.len() / 20).copied());
    let mut thresholds: Vec<f32> =
        [0.5].into_iter().chain(quantiles.filter(|p| *p > 0.5)).chain([1.0]).collect();
    thresholds.dedup();
    thresholds.into_iter().map(|t| (t, rate(t))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Gains that are positive where the first feature is, plus noise; the second feature is large and idle.
    fn samples(n: usize) -> (Vec<f32>, Vec<f64>) {
        let mut rng = Rng::at(11, &[]);
        let (mut z, mut gain) = (Vec::new(), Vec::new());
        for _ in 0..n {
            let x = rng.normal();
            z.extend([x as f32 * 20.0 + 3.0, 100.0 + rng.normal() as f32, rng.normal() as f32]);
            gain.push(0.3 * x + 0.05 + 0.5 * rng.normal());
        }
        (z, gain)
    }

    #[test]
    fn opens_where_the_expected_gain_exceeds_the_price() {
        let (z, gain) = samples(6000);
        let weight = vec![1.0; gain.len()];
        let gate =
            fit(&Samples { z: &z, hidden: 3, gain: &gain, weight: &weight }, 0.05, 1e-4, None).unwrap();
        let right = z.chunks(3).filter(|row| gate.opens(gate.probability(row)) == (row[0] > 3.0)).count();
        assert!(right as f64 > 0.96 * 6000.0, "{right}");
    }

    #[test]
    fn few_tokens_stay_near_the_prior_and_many_leave_it() {
        let (z, gain) = samples(6000);
        let weight = vec![1.0; gain.len()];
        let on = |n: usize, ridge, prior: Option<&Gate>| {
            let (z, gain, weight) = (&z[..3 * n], &gain[..n], &weight[..n]);
            fit(&Samples { z, hidden: 3, gain, weight }, 0.05, ridge, prior).unwrap()
        };
        let truth = on(6000, 1e-4, None);
        let right = |gate: &Gate| {
            let same = |row: &&[f32]| gate.opens(gate.probability(row)) == (row[0] > 3.0);
            z.chunks(3).filter(same).count()
        };
        let (alone, led) = (on(8, 0.3, None), on(8, 30.0, Some(&truth)));
        assert!(right(&led) > right(&alone), "{} {}", right(&led), right(&alone));
        assert!((led.weight[3] / truth.weight[3] - 1.0).abs() < 0.1);
        // A prior that says the opposite of the truth is overruled.
        let mut wrong = truth.clone();
        wrong.weight.iter_mut().chain(&mut wrong.bias).for_each(|w| *w = -*w);
        assert!(right(&wrong) < 600 && right(&on(6000, 1e-4, Some(&wrong))) > 5700);
    }

    #[test]
    fn never_opens_when_nothing_is_gained() {
        let (z, gain) = samples(500);
        let losses: Vec<f64> = gain.iter().map(|g| g - 3.0).collect();
        let weight = vec![1.0; gain.len()];
        let gate =
            fit(&Samples { z: &z, hidden: 3, gain: &losses, weight: &weight }, 0.05, 1e-2, None).unwrap();
        assert!(z.chunks(3).all(|row| !gate.opens(gate.probability(row))));
        assert!(fit(&Samples { z: &[], hidden: 3, gain: &[], weight: &[] }, 0.05, 0.1, None).is_err());
    }

    #[test]
    fn the_table_keeps_a_budget() {
        let probabilities: Vec<f32> = (0..1000).map(|i| i as f32 / 1000.0).collect();
        let gate = Gate {
            weight: vec![0.0; 2],
            bias: [0.0; 2],
            threshold: 0.5,
            budget: 1.0,
            table: table(&probabilities),
        };
        assert_eq!(gate.threshold_for(1.0), 0.5);
        let threshold = gate.threshold_for(0.2);
        let open = probabilities.iter().filter(|p| **p > threshold).count();
        assert!((150..=200).contains(&open), "{open}");
        assert!(!gate.opens(gate.probability(&[1.0])) || gate.threshold_for(0.0) < 1.0);
        assert_eq!(gate.threshold_for(0.0), 1.0);
        // A conversation unlike those it was calibrated on: what the threshold lets through is counted.
        let held = gate.within(0.4);
        let mut opened = 0;
        for index in 0..200 {
            opened += u32::from(held.opens_at(0.99, index, opened));
        }
        assert_eq!(opened, 80 + budget::AHEAD);
        assert!(!held.opens_at(0.5, 0, 0));
    }
}
