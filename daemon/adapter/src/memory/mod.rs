//! Personal memory (method, section 3): every lesson token is a row, its key the state before it and its value the
//! token. At an open position the nearest rows vote, and a mixer of six numbers says how much the votes count:
//! `P_fused = (1 - m) softmax(W (z + g)) + m P_memory`.

mod fit;
mod mixer;
mod rows;

pub(crate) use fit::{Sample, fit};
pub use mixer::Mixed;
pub(crate) use mixer::{BaseView, Mixer};
pub(crate) use rows::Rows;

use crate::error::Result;
use crate::job::Turn;

/// Lessons below this weight are no rows: an unrated reply is the model's own words (method, section 8).
const REMEMBERED: f32 = 0.5;

/// Rows and how much they count.
#[derive(Clone, PartialEq)]
pub(crate) struct Memory {
    pub(crate) rows: Rows,
    pub(crate) mixer: Mixer,
}

impl Memory {
    /// The votes at a state `z` (H), rows of one conversation left out; `base` are base's log-probabilities (V).
    pub(crate) fn at(&self, z: &[f32], base: &[f32], skip: Option<u64>) -> Mixed {
        self.mixer.mix(&self.rows.nearest(z, skip), &BaseView::of(base))
    }
}

/// The rows of those turns that `wanted` keeps and that are remembered at all.
pub(crate) fn rows_of<'a>(
    hidden: usize,
    turns: impl IntoIterator<Item = &'a Turn>,
    wanted: impl Fn(&Turn) -> bool,
) -> Result<Rows> {
    let mut rows = Rows::new(hidden);
    for turn in turns.into_iter().filter(|t| t.weight >= REMEMBERED && wanted(t)) {
        for (z, value) in turn.z.chunks_exact(hidden).zip(&turn.targets) {
            rows.push(turn.conversation, *value, z);
        }
    }
    Ok(rows)
}
