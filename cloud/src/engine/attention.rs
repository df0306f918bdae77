//! Causal attention of one position over its sequence, written out so that the order of every sum is fixed by the
//! position alone: a prefilled, a stepped and a batched position get the same bits.

#![allow(clippy::indexing_slicing, reason = "inner loops over checked shapes")]

use super::simd::{add_scaled, dot, exp, sum};

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

/// Writes the mixed values of all heads of one position into `out` (`query_width` values). `keys` and `values` end
/// with the row of the position itself; `weights` is scratch.
#[inline(always)]
pub(super) fn attend(
    heads: Heads,
    query: &[f32],
    keys: &[f32],
    values: &[f32],
    out: &mut [f32],
    weights: &mut Vec<f32>,
) {
    let (width, dim) = (heads.key_width(), heads.dim);
    let first = heads.window.map_or(0, |window| (keys.len() / width).saturating_sub(window));
    let (keys, values) = (&keys[first * width..], &values[first * width..]);
    let group = heads.queries / heads.keys;
    let scale = (dim as f32).sqrt().recip();
    for (head, (query, out)) in query.chunks_exact(dim).zip(out.chunks_exact_mut(dim)).enumerate() {
        let at = head / group * dim;
        weights.clear();
        weights.extend(keys.chunks_exact(width).map(|key| dot(query, &key[at..at + dim]) * scale));
        let total = soften(weights);
        out.fill(0.0);
        for (value, weight) in values.chunks_exact(width).zip(&*weights) {
            add_scaled(out, &value[at..at + dim], *weight);
        }
        out.iter_mut().for_each(|o| *o /= total);
    }
}

/// Scores to unnormalised weights; returns their sum.
#[inline(always)]
fn soften(scores: &mut [f32]) -> f32 {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|s| *s = exp(*s - largest));
    sum(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_average_the_values_inside_the_window() {
        let mut heads = Heads { queries: 2, keys: 1, dim: 2, window: None };
        let (query, keys) = ([1.0, 2.0, 3.0, 4.0], [0.5; 6]);
        let values = [1.0, 10.0, 2.0, 20.0, 6.0, 60.0];
        let (mut out, mut scratch) = ([0.0; 4], Vec::new());
        attend(heads, &query, &keys, &values, &mut out, &mut scratch);
        assert_eq!(out, [3.0, 30.0, 3.0, 30.0]);
        heads.window = Some(2);
        attend(heads, &query, &keys, &values, &mut out, &mut scratch);
        assert_eq!(out, [4.0, 40.0, 4.0, 40.0]);
    }
}
