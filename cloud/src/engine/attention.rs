//! Causal attention of one position over its sequence, written out so that the order of every sum is fixed by the
//! position alone: a prefilled, a stepped and a batched position get the same bits.

#![allow(clippy::indexing_slicing, reason = "inner loops over checked shapes")]

use super::simd::{accumulate, dot, exp, sum};

/// Columns of the values that are summed at a time.
const BLOCK: usize = 32;

/// Heads of an attention layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    /// Query heads, a multiple of `keys`.
    pub(super) queries: usize,
    /// Key/value heads.
    pub(super) keys: usize,
    /// Values per head.
    pub(super) dim: usize,
    /// Only the newest so many positions are seen, the own one included.
    pub(super) window: Option<usize>,
}

impl Heads {
    /// Values in a row of keys.
    pub(super) fn key_width(&self) -> usize {
        self.keys * self.dim
    }

    /// Values in a row of queries.
    pub(super) fn query_width(&self) -> usize {
        self.queries * self.dim
    }
}

/// One position's attention; [`pulp::NullaryFnOnce::call`] runs it.
pub(super) struct Attend<'a> {
    pub(super) heads: Heads,
    /// `query_width` values.
    pub(super) query: &'a [f32],
    /// Ends with the row of the position itself.
    pub(super) keys: &'a [f32],
    /// As many rows as `keys`.
    pub(super) values: &'a [f32],
    /// Takes the mixed values of all heads, `query_width` of them.
    pub(super) out: &'a mut [f32],
    /// Scratch.
    pub(super) weights: &'a mut Vec<f32>,
}

impl pulp::NullaryFnOnce for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { heads, query, keys, values, out, weights } = self;
        let (width, dim) = (heads.key_width(), heads.dim);
        let first = heads.window.map_or(0, |window| (keys.len() / width).saturating_sub(window));
        let (keys, values) = (&keys[first * width..], &values[first * width..]);
        weights.clear();
        weights.resize(keys.len() / width, 0.0);
        let group = heads.queries / heads.keys;
        let scale = (dim as f32).sqrt().recip();
        for (head, (query, out)) in query.chunks_exact(dim).zip(out.chunks_exact_mut(dim)).enumerate() {
            let at = head / group * dim;
            // A plain loop: through an iterator's fold the compiler would lose the wide instructions.
            for (weight, key) in weights.iter_mut().zip(keys.chunks_exact(width)) {
                *weight = dot(query, &key[at..at + dim]) * scale;
            }
            let total = soften(weights);
            for (block, out) in out.chunks_mut(BLOCK).enumerate() {
                gather(out, values, width, at + block * BLOCK, weights, total);
            }
        }
    }
}

/// `out = sum(weight * value) / total` over all positions, for the few columns from `at` on: their sums stay in
/// registers.
#[inline(always)]
fn gather(out: &mut [f32], values: &[f32], width: usize, at: usize, weights: &[f32], total: f32) {
    let mut sums = [0f32; BLOCK];
    for (value, weight) in values.chunks_exact(width).zip(weights) {
        let value = &value[at..];
        if let Some(value) = value.first_chunk::<BLOCK>().filter(|_| out.len() == BLOCK) {
            accumulate(&mut sums, value, &[*weight; BLOCK]);
        } else {
            sums.iter_mut().zip(&value[..out.len()]).for_each(|(sum, value)| *sum += value * weight);
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = sum / total;
    }
}

/// Scores to unnormalised weights; returns their sum.
#[inline(always)]
fn soften(scores: &mut [f32]) -> f32 {
    let mut largest = f32::NEG_INFINITY;
    for score in scores.iter() {
        largest = if *score > largest { *score } else { largest };
    }
    for score in scores.iter_mut() {
        *score = exp(*score - largest);
    }
    sum(scores)
}

#[cfg(test)]
mod tests {
    use pulp::NullaryFnOnce as _;

    use super::*;

    #[test]
    fn equal_keys_average_the_values_inside_the_window() {
        let mut heads = Heads { queries: 2, keys: 1, dim: 2, window: None };
        let (query, keys) = ([1.0, 2.0, 3.0, 4.0], [0.5; 6]);
        let values = [1.0, 10.0, 2.0, 20.0, 6.0, 60.0];
        let attend = |heads| {
            let (mut out, mut weights) = ([0.0; 4], Vec::new());
            let (query, keys, values) = (&query[..], &keys[..], &values[..]);
            Attend { heads, query, keys, values, out: &mut out, weights: &mut weights }.call();
            out
        };
        assert_eq!(attend(heads), [3.0, 30.0, 3.0, 30.0]);
        heads.window = Some(2);
        assert_eq!(attend(heads), [4.0, 40.0, 4.0, 40.0]);
    }
}
