//! Sums of exponentials over a vocabulary, compiled for AVX2 where there is one. Every operation rounds alike on either
//! path, so the same numbers come out on every processor.

/// Runs `work` compiled for AVX2 where there is one.
pub(crate) fn wide<W: pulp::NullaryFnOnce>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = pulp::x86::V3::try_new() {
            return simd.vectorize(work);
        }
    }
    work.call()
}

/// Values that are summed side by side.
const LANES: usize = 16;
/// Values after which a sum in f32 is added to one in f64.
const STRETCH: usize = 512;
/// Below this a share of a distribution is nothing; e^x stays a normal number.
const LOWEST: f32 = -87.0;

/// e^x for x in [-87, 0], relative error below 2e-7: `2^n e^r` with `n = round(x / ln 2)` and r by its series.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5 * 2^23 rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    let x = x.max(LOWEST);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first of which has few digits.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let high = 1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0)));
    let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * high)));
    let power = f32::from_bits((n as i32 + 127).cast_unsigned() << 23);
    series * power
}

/// Sum of `each` over values, in lanes and stretches.
#[inline(always)]
fn sum(values: &[f32], each: impl Fn(f32) -> f32) -> f64 {
    let mut total = 0.0;
    for stretch in values.chunks(STRETCH) {
        let (lanes, rest) = stretch.as_chunks::<LANES>();
        let mut sums = [0f32; LANES];
        for lane in lanes {
            sums.iter_mut().zip(lane).for_each(|(sum, value)| *sum += each(*value));
        }
        total += f64::from(sums.iter().sum::<f32>() + rest.iter().map(|v| each(*v)).sum::<f32>());
    }
    total
}

#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let (lanes, rest) = values.as_chunks::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for lane in lanes {
        most.iter_mut()
            .zip(lane)
            .for_each(|(most, value)| *most = if *value > *most { *value } else { *most });
    }
    most.iter().chain(rest).fold(f32::NEG_INFINITY, |m, v| m.max(*v))
}

struct LogSum<'a>(&'a [f32]);

impl pulp::NullaryFnOnce for LogSum<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let most = largest(self.0);
        f64::from(most) + sum(self.0, |l| exp(l - most)).ln()
    }
}

/// log of the sum of exponentials.
pub(crate) fn log_sum(logits: &[f32]) -> f64 {
    wide(LogSum(logits))
}

struct Softmax<'a>(&'a mut [f32]);

impl pulp::NullaryFnOnce for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let most = largest(self.0);
        self.0.iter_mut().for_each(|l| *l = exp(*l - most));
        let inverse = (1.0 / sum(self.0, |p| p)) as f32;
        self.0.iter_mut().for_each(|p| *p *= inverse);
    }
}

/// Logits to probabilities in place.
pub(crate) fn softmax(logits: &mut [f32]) {
    wide(Softmax(logits));
}

/// Logits to log-probabilities in place.
pub(crate) fn log_softmax(logits: &mut [f32]) {
    let shift = log_sum(logits) as f32;
    logits.iter_mut().for_each(|l| *l -= shift);
}

struct Entropy<'a>(&'a [f32]);

impl pulp::NullaryFnOnce for Entropy<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        // What is next to impossible counts nothing; minus infinity times nothing would be no number.
        -sum(self.0, |l| exp(l) * l.max(LOWEST))
    }
}

/// Entropy in nats of log-probabilities.
pub(crate) fn entropy(log_probs: &[f32]) -> f64 {
    wide(Entropy(log_probs))
}

struct Exp<'a>(&'a mut [f32]);

impl pulp::NullaryFnOnce for Exp<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.0.iter_mut().for_each(|l| *l = exp(*l));
    }
}

/// Log-probabilities to probabilities in place.
pub(crate) fn exp_all(log_probs: &mut [f32]) {
    wide(Exp(log_probs));
}

struct Square<'a>(&'a [f32]);

impl pulp::NullaryFnOnce for Square<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        sum(self.0, |v| v * v)
    }
}

/// Sum of squares.
pub(crate) fn square(values: &[f32]) -> f64 {
    wide(Square(values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn exponentials_are_those_of_the_mathematical_library() {
        for i in 0..=870_000 {
            let x = -(i as f32) * 1e-4;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 2e-7, "{x}: {found} {expected}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn sums_over_a_vocabulary_match_sums_in_double_precision() {
        let mut rng = Rng::at(1, &[]);
        for n in [1, 15, 16, 700, 6144] {
            let logits: Vec<f32> = (0..n).map(|_| 8.0 * rng.normal() as f32).collect();
            let log_sum64 = logits.iter().map(|l| f64::from(*l).exp()).sum::<f64>().ln();
            assert!((log_sum(&logits) - log_sum64).abs() < 1e-6);
            let (mut p, mut l) = (logits.clone(), logits.clone());
            softmax(&mut p);
            log_softmax(&mut l);
            let mut expected_entropy = 0.0;
            for ((p, l), logit) in p.iter().zip(&l).zip(&logits) {
                let expected = f64::from(*logit) - log_sum64;
                assert!((f64::from(*l) - expected).abs() < 1e-5);
                assert!((f64::from(*p) - expected.exp()).abs() < 1e-6);
                expected_entropy -= expected.exp() * expected;
            }
            assert!((entropy(&l) - expected_entropy).abs() < 1e-4);
            exp_all(&mut l);
            assert!(l.iter().zip(&p).all(|(a, b)| (a - b).abs() < 1e-6));
        }
        assert!(entropy(&[0.0, f32::NEG_INFINITY]).abs() < 1e-6);
    }
}
