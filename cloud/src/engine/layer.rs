//! One decoder layer: attention and the gated feed-forward part, each around the residual stream.

#![allow(clippy::indexing_slicing, reason = "inner loops over checked shapes")]

use rayon::prelude::*;

use super::{
    Result,
    attention::{Attend, Heads},
    cache::LayerCache,
    linear::Linear,
    rope::rotate,
    simd::{rms_norm, rms_norm_in_place, silu_times, wide},
};

/// Rows of the feed-forward part computed at once; bounds its memory in a long prefill.
const MLP_ROWS: usize = 256;
/// Multiplications below which one thread attends faster than several.
const MUCH_WORK: usize = 1 << 20;

/// A norm's weights.
pub(super) struct Norm {
    pub(super) weight: Vec<f32>,
    pub(super) epsilon: f32,
}

impl Norm {
    /// Every row of `x` divided by its root mean square, times the weights.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0f32; x.len()];
        let width = self.weight.len();
        wide(|| {
            for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                rms_norm(x, &self.weight, self.epsilon, out);
            }
        });
        out
    }
}

/// One layer's weights.
pub(super) struct Layer {
    pub(super) attention_norm: Norm,
    /// Queries, keys and values in one product.
    pub(super) qkv: Linear,
    /// Norms of single query and key heads.
    pub(super) head_norms: Option<(Norm, Norm)>,
    pub(super) out: Linear,
    pub(super) mlp_norm: Norm,
    /// Gate and up projection in one product.
    pub(super) gate_up: Linear,
    pub(super) down: Linear,
    pub(super) heads: Heads,
}

/// The rows of one sequence in a batch.
pub(super) struct Span<'a> {
    /// This layer's cache of the sequence.
    pub(super) cache: &'a mut LayerCache,
    /// Position of its first row.
    pub(super) first: usize,
    /// How many rows follow one another.
    pub(super) rows: usize,
}

/// One row's query, and the keys and values of its sequence up to its own.
struct Sight<'a> {
    query: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
}

impl Layer {
    /// Adds both parts to the residual stream `x`. `angles` has the rotation of every row.
    pub(super) fn apply(&self, x: &mut [f32], angles: &[f32], spans: &mut [Span<'_>]) -> Result<()> {
        let mut qkv = self.qkv.apply(&self.attention_norm.apply(x))?;
        self.prepare(&mut qkv, angles);
        self.store(&qkv, spans);
        add(x, &self.out.apply(&self.mix(&qkv, spans))?);
        let width = self.mlp_norm.weight.len();
        for x in x.chunks_mut(MLP_ROWS * width) {
            add(x, &self.mlp(&self.mlp_norm.apply(x))?);
        }
        Ok(())
    }

    /// Normalises and rotates queries and keys in place.
    fn prepare(&self, qkv: &mut [f32], angles: &[f32]) {
        let (q, k) = (self.heads.query_width(), self.heads.key_width());
        wide(|| {
            for (row, angles) in qkv.chunks_exact_mut(q + 2 * k).zip(angles.chunks_exact(self.heads.dim)) {
                if let Some((query_norm, key_norm)) = &self.head_norms {
                    normalise_heads(&mut row[..q], query_norm);
                    normalise_heads(&mut row[q..q + k], key_norm);
                }
                rotate(&mut row[..q + k], angles);
            }
        });
    }

    /// Appends keys and values to the caches.
    fn store(&self, qkv: &[f32], spans: &mut [Span<'_>]) {
        let (q, k) = (self.heads.query_width(), self.heads.key_width());
        let mut rows = qkv.chunks_exact(q + 2 * k);
        for span in spans {
            for row in rows.by_ref().take(span.rows) {
                span.cache.keys.extend_from_slice(&row[q..q + k]);
                span.cache.values.extend_from_slice(&row[q + k..]);
            }
        }
    }

    /// What every row's heads gather from its sequence.
    fn mix(&self, qkv: &[f32], spans: &[Span<'_>]) -> Vec<f32> {
        let (q, k) = (self.heads.query_width(), self.heads.key_width());
        let seen =
            spans.iter().flat_map(|span| (0..span.rows).map(|row| (&*span.cache, span.first + row + 1)));
        let sights: Vec<Sight<'_>> = qkv
            .chunks_exact(q + 2 * k)
            .zip(seen)
            .map(|(row, (cache, positions))| Sight {
                query: &row[..q],
                keys: &cache.keys[..positions * k],
                values: &cache.values[..positions * k],
            })
            .collect();
        let mut out = vec![0f32; sights.len() * q];
        let one = |weights: &mut Vec<f32>, out: &mut [f32], sight: &Sight<'_>| {
            let Sight { query, keys, values } = *sight;
            wide(Attend { heads: self.heads, query, keys, values, out, weights });
        };
        let work = sights.iter().map(|sight| sight.keys.len()).sum::<usize>() * (q / k);
        if work < MUCH_WORK || rayon::current_num_threads() == 1 {
            let mut weights = Vec::new();
            out.chunks_exact_mut(q).zip(&sights).for_each(|(out, sight)| one(&mut weights, out, sight));
        } else {
            out.par_chunks_exact_mut(q)
                .zip(sights.par_iter())
                .for_each_init(Vec::new, |weights, (out, sight)| one(weights, out, sight));
        }
        out
    }

    fn mlp(&self, x: &[f32]) -> Result<Vec<f32>> {
        let both = self.gate_up.apply(x)?;
        let inner = self.gate_up.outputs() / 2;
        let mut gated = Vec::with_capacity(both.len() / 2);
        for row in both.chunks_exact(2 * inner) {
            gated.extend_from_slice(&row[..inner]);
        }
        wide(|| {
            for (gate, row) in gated.chunks_exact_mut(inner).zip(both.chunks_exact(2 * inner)) {
                silu_times(gate, &row[inner..]);
            }
        });
        self.down.apply(&gated)
    }
}

#[inline(always)]
fn normalise_heads(row: &mut [f32], norm: &Norm) {
    for head in row.chunks_exact_mut(norm.weight.len()) {
        rms_norm_in_place(head, &norm.weight, norm.epsilon);
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
