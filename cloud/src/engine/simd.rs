//! Row operations in a fixed order: the same input row gives the same bits, whatever else is computed.
//!
//! Sums run over sixteen lanes that are folded in halves, and nothing is fused, so the order does not depend on the
//! processor either. [`wide`] lets the compiler use AVX2 where there is one, without unsafe code.

const LANES: usize = 16;

/// Runs `work` compiled for the widest instruction set at hand. Only what is inlined into it gains: a large closure is
/// not, so the costly loops are types whose `call` is `#[inline(always)]`.
#[inline(always)]
pub(super) fn wide<W: pulp::NullaryFnOnce>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = pulp::x86::V3::try_new() {
            return simd.vectorize(work);
        }
    }
    work.call()
}

/// Inner product of two rows of equal length.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        accumulate(&mut lanes, a, b);
    }
    // Without the barrier the compiler shapes the loop after the fold, in pairs instead of whole registers.
    let lanes = std::hint::black_box(lanes);
    let mut rest = 0.0;
    for (x, y) in a_rest.iter().zip(b_rest) {
        rest += x * y;
    }
    fold(lanes) + rest
}

/// `sums += a * b`, value by value. Arrays and counted loops: what the compiler turns into wide registers.
#[inline(always)]
#[allow(clippy::indexing_slicing, clippy::needless_range_loop, reason = "arrays of one length")]
pub(super) fn accumulate<const N: usize>(sums: &mut [f32; N], a: &[f32; N], b: &[f32; N]) {
    for i in 0..N {
        sums[i] += a[i] * b[i];
    }
}

/// Sum of a row.
#[inline(always)]
pub(super) fn sum(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for chunk in chunks {
        accumulate(&mut lanes, chunk, &[1.0; LANES]);
    }
    fold(lanes) + rest.iter().sum::<f32>()
}

#[inline(always)]
fn fold(lanes: [f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = lanes;
    let eight = [a + i, b + j, c + k, d + l, e + m, f + n, g + o, h + p];
    let [a, b, c, d, e, f, g, h] = eight;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// e^x to within two units in the last place for |x| < 87, 0 below: a polynomial, so that loops over it vectorise and
/// no two machines differ.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with trailing zero bits.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.3, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let mantissa = (p * r) * r + r + 1.0;
    // The low bits of `shifted` are n itself; 127 is the exponent's bias.
    let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    mantissa * f32::from_bits(power)
}

/// `row / rms(row) * weight`, with `epsilon` added to the mean square.
#[inline(always)]
pub(super) fn rms_norm(row: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    out.copy_from_slice(row);
    rms_norm_in_place(out, weight, epsilon);
}

/// As [`rms_norm`], over the row itself.
#[inline(always)]
pub(super) fn rms_norm_in_place(row: &mut [f32], weight: &[f32], epsilon: f32) {
    let scale = (dot(row, row) / row.len() as f32 + epsilon).sqrt().recip();
    for (x, w) in row.iter_mut().zip(weight) {
        *x = *x * scale * w;
    }
}

/// `gate = silu(gate) * up`.
#[inline(always)]
pub(super) fn silu_times(gate: &mut [f32], up: &[f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g = *g / (1.0 + exp(-*g)) * u;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_follows_the_library() {
        for i in -8700..8700 {
            let x = i as f32 / 100.0;
            let (ours, theirs) = (exp(x), x.exp());
            assert!((ours - theirs).abs() <= theirs * 4e-7, "{x}: {ours} {theirs}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn sums_are_the_same_with_and_without_wide_instructions() {
        let a: Vec<f32> = (0..77).map(|i| (i as f32 * 0.7).sin()).collect();
        let b: Vec<f32> = (0..77).map(|i| (i as f32 * 1.3).cos()).collect();
        assert_eq!(wide(|| dot(&a, &b)).to_bits(), dot(&a, &b).to_bits());
        assert_eq!(wide(|| sum(&a)).to_bits(), sum(&a).to_bits());
        let exact: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        assert!((f64::from(dot(&a, &b)) - exact).abs() < 1e-5);
    }
}
