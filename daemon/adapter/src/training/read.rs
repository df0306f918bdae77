//! What is known of a turn before its training: base's opinion of every target, the rows of the memory near it, and the
//! candidates where the vocabulary is large. One pass of the head over every position, and no more for all epochs.

use super::candidates::Candidates;
use crate::error::Result;
use crate::head::Head;
use crate::job::Turn;
use crate::memory::{Near, Rows, Sample};
use crate::simd::log_softmax;

/// Logits computed at once where the head is widened whole, in values.
pub(super) const LOGITS_AT_ONCE: usize = 2 << 20;
/// The same where it is read in blocks, which cost less the more positions share them.
const LOGITS_BY_BLOCKS: usize = 16 << 20;

/// One turn, read.
#[derive(Default)]
pub(super) struct Read {
    /// Base's log-probability of every target.
    pub(super) base: Vec<f32>,
    /// Of every target that has rows near it; empty without a memory.
    pub(super) samples: Vec<Option<Sample>>,
    /// Of every target; empty where all rows are computed.
    pub(super) candidates: Vec<Candidates>,
}

/// Reads a turn against `rows`, those of its own conversation left out, with `most` candidates a token.
pub(super) fn read(turn: &Turn, head: &Head, rows: Option<&Rows>, most: Option<usize>) -> Result<Read> {
    let (hidden, vocab) = (head.hidden(), head.vocab());
    let at_once = if most.is_some() { LOGITS_BY_BLOCKS } else { LOGITS_AT_ONCE };
    let positions = (at_once / vocab).max(1);
    let mut out = Read::default();
    for (number, targets) in turn.targets.chunks(positions).enumerate() {
        let mut states = Vec::new();
        turn.states.z_into(number * positions..number * positions + targets.len(), &mut states);
        let mut logits = match most {
            Some(_) => head.logits_by_blocks(&states)?,
            None => head.logits(&states)?,
        };
        for ((row, z), target) in logits.chunks_exact_mut(vocab).zip(states.chunks_exact(hidden)).zip(targets)
        {
            log_softmax(row);
            let base = row.get(*target as usize).copied().unwrap_or(f32::NEG_INFINITY);
            out.base.push(base);
            let near = rows.and_then(|rows| Near::of(&rows.nearest(z, Some(turn.conversation)), row));
            if let Some(most) = most {
                let voted = near.iter().flat_map(|near| near.tokens.iter().copied());
                out.candidates.push(Candidates::choose(row, voted.chain([*target]), most));
            }
            if rows.is_some() {
                out.samples.push(near.map(|near| Sample::new(near, *target, base, turn.weight)));
            }
        }
        if most.is_some() {
            // What the choice left of the logits are the probabilities of the others.
            let sums = head.means(&logits)?;
            let from = out.candidates.len() - targets.len();
            for (candidates, sum) in out.candidates.iter_mut().skip(from).zip(sums.chunks_exact(hidden)) {
                candidates.rest(sum);
            }
        }
    }
    Ok(out)
}
