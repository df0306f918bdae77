//! Personal memory (method, section 3): every lesson token is a row, its key the state before it and its value the
//! token. At an open position the nearest rows vote, and a mixer of seven numbers says how much the votes count:
//! `P_fused = (1 - m) softmax(W (z + g)) + m P_memory`.

mod fit;
mod mixer;
mod projection;
mod rows;

pub(crate) use fit::{Sample, fit};
pub use mixer::Mixed;
pub(crate) use mixer::{Mixer, Near};
pub(crate) use projection::Projection;
pub use projection::WIDEST;
pub(crate) use rows::Rows;

use crate::job::Turn;

/// Rows and how much they count.
#[derive(Clone, PartialEq)]
pub(crate) struct Memory {
    pub(crate) rows: Rows,
    pub(crate) mixer: Mixer,
}

impl Memory {
    /// Adds the tokens of turns that are remembered at all: an unrated reply is the model's own words (method, section 8).
    pub(crate) fn add<'a>(&mut self, turns: impl IntoIterator<Item = &'a Turn>) {
        for turn in turns.into_iter().filter(|t| t.judged() && !t.targets.is_empty()) {
            let hidden = turn.states.layout().hidden;
            for (z, value) in turn.states.z().chunks_exact(hidden.max(1)).zip(&turn.targets) {
                self.rows.push(turn.conversation, *value, z);
            }
        }
    }

    /// The votes at a state `z` (H), rows of one conversation left out; `base` are base's log-probabilities (V).
    pub(crate) fn at(&self, z: &[f32], base: &[f32], skip: Option<u64>) -> Mixed {
        let near = Near::of(&self.rows.nearest(z, skip), base);
        near.map_or_else(Mixed::default, |near| self.mixer.mix(&near))
    }
}

/// The rows of those turns that are remembered at all.
pub(crate) fn rows_of<'a>(projection: Projection, turns: impl IntoIterator<Item = &'a Turn>) -> Rows {
    let mut memory = Memory { rows: Rows::new(projection), mixer: Mixer::default() };
    memory.add(turns);
    memory.rows
}
