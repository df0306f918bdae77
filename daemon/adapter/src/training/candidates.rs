//! Candidate rows (method, section 8): where the vocabulary is large, a token's softmax runs over the tokens that matter
//! there, and all others are one row, their mean under base. With r the mass of the others under base and w' their mean
//! row of W, `log S(v) = log P_base(v) + w_v g - log Z` and `log S(others) >= log r + w' g - log Z`: the loss is exact
//! to the first order in g, and gradient and loss are exact for a newborn.

use crate::error::Result;
use crate::head::Head;
use crate::memory::Mixed;
use crate::simd::exp_all;

/// Vocabulary up to which every row is computed.
const SMALL: usize = 16_384;
/// Candidates of a token, beside its target and those that the memory votes for.
const MOST: usize = 256;
/// Mass of the others below which they count nothing.
const NOTHING: f64 = 1e-9;

/// How many candidates a token gets where nothing else is said; `None`: all rows.
pub(crate) fn automatic(vocab: usize) -> Option<usize> {
    (vocab > SMALL).then_some(MOST)
}

/// What is known beforehand of one token's distribution.
#[derive(Clone)]
pub(super) struct Candidates {
    /// C tokens, rising.
    ids: Vec<u32>,
    /// Base's log-probabilities of them and, behind them, of all others together.
    pub(super) base: Vec<f32>,
    /// w' (H).
    pub(super) others: Vec<f32>,
}

impl Candidates {
    /// The `most` most probable tokens of `log_probs` (V), and `must`. Leaves `log_probs` as the others' probabilities,
    /// the candidates' zero; `others` is still to come.
    pub(super) fn choose(log_probs: &mut [f32], must: impl IntoIterator<Item = u32>, most: usize) -> Self {
        let mut ids: Vec<u32> = (0..log_probs.len() as u32).collect();
        let log_prob = |id: &u32| log_probs.get(*id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        if most < ids.len() {
            ids.select_nth_unstable_by(most, |a, b| log_prob(b).total_cmp(&log_prob(a)).then(a.cmp(b)));
            ids.truncate(most);
            // Else every token would hold the room of a whole vocabulary.
            ids.shrink_to_fit();
        }
        ids.extend(must);
        ids.sort_unstable();
        ids.dedup();
        let mut base: Vec<f32> = ids.iter().map(log_prob).collect();
        exp_all(log_probs);
        for id in &ids {
            if let Some(p) = log_probs.get_mut(*id as usize) {
                *p = 0.0;
            }
        }
        let mass: f64 = log_probs.iter().map(|p| f64::from(*p)).sum();
        base.push(mass.max(NOTHING).ln() as f32);
        Self { ids, base, others: Vec::new() }
    }

    /// Takes w' from the sum of the others' rows, weighted by their probabilities (H).
    pub(super) fn rest(&mut self, sum: &[f32]) {
        let mass = self.base.last().map_or(1.0, |l| l.exp());
        self.others = sum.iter().map(|v| v / mass).collect();
    }

    /// The rows of W that count, the others' behind them: (C + 1) * H values behind what `to` holds.
    pub(super) fn rows_into(&self, head: &Head, to: &mut Vec<f32>) -> Result<()> {
        self.ids.iter().try_for_each(|id| head.row_into(*id as usize, to))?;
        to.extend_from_slice(&self.others);
        Ok(())
    }

    /// Place of a token among the candidates; that of the others where it is none.
    pub(super) fn place(&self, token: u32) -> u32 {
        self.ids.binary_search(&token).unwrap_or(self.ids.len()) as u32
    }

    /// Votes by place instead of by token.
    pub(super) fn placed(&self, mixed: &Mixed) -> Mixed {
        let votes = mixed.votes.iter().map(|(token, share)| (self.place(*token), *share)).collect();
        Mixed { m: mixed.m, votes }
    }

    /// `log P_base + w g` of every candidate and of the others, from `rows` as [`Self::rows_into`] gave them.
    pub(super) fn logits(&self, rows: &[f32], g: &[f32]) -> Vec<f32> {
        let rows = rows.chunks_exact(g.len().max(1));
        self.base.iter().zip(rows).map(|(base, row)| base + dot(row, g)).collect()
    }
}

/// A product; sums in lanes, so that it runs in vector registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, b) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0f32; 16];
    for (a, b) in a.0.iter().zip(b.0) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + a.1.iter().zip(b.1).map(|(a, b)| a * b).sum::<f32>()
}

/// `sum += factor * row`.
pub(super) fn add(sum: &mut [f32], row: &[f32], factor: f32) {
    for (s, v) in sum.iter_mut().zip(row) {
        *s += factor * v;
    }
}
