//! Cuts a conversation into windows that the backbone was trained on (method, section 8: bundled 512 tokens). Every
//! target token is predicted exactly once, with as much earlier text before it as a window can give.

use std::ops::Range;

/// Part of a conversation to encode at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Token positions of the conversation that are sent.
    pub tokens: Range<usize>,
    /// Targets: for each turn (its number, its token positions); the state before each position predicts it. Positions
    /// are those of the conversation, all inside `tokens` and never its first.
    pub targets: Vec<(usize, Range<usize>)>,
}

/// `length` tokens with the target ranges of the turns in order; a window holds at most `size` tokens (>= 4), of which
/// up to a quarter is context from before.
#[must_use]
pub fn windows(length: usize, turns: &[(usize, Range<usize>)], size: usize) -> Vec<Window> {
    let size = size.max(4);
    let context = size / 4;
    let mut out: Vec<Window> = Vec::new();
    for (turn, range) in turns {
        let mut at = range.start.max(1);
        let end = range.end.min(length);
        while at < end {
            let open = out.last_mut().filter(|w| fits(w, at, end, size));
            let window = match open {
                Some(window) => window,
                None => {
                    let first = out.is_empty() && end <= size;
                    let start = if first { 0 } else { start_before(turns, at, context) };
                    out.push(Window { tokens: start..at, targets: Vec::new() });
                    let Some(window) = out.last_mut() else { break };
                    window
                }
            };
            let stop = end.min(window.tokens.start + size);
            window.targets.push((*turn, at..stop));
            window.tokens.end = stop;
            at = stop;
        }
    }
    out
}

/// A whole turn goes on in a window, or the rest of one that is too long for any.
fn fits(window: &Window, at: usize, end: usize, size: usize) -> bool {
    let limit = window.tokens.start + size;
    end <= limit || (at < limit && end - at > size - size / 4)
}

/// Where a window that predicts `at` starts: at a turn's start if one lies within the context, else `context` before.
fn start_before(turns: &[(usize, Range<usize>)], at: usize, context: usize) -> usize {
    let earliest = at.saturating_sub(context);
    // A turn's marker token precedes its first target.
    let boundary = turns.iter().map(|(_, r)| r.start.saturating_sub(1)).find(|s| *s >= earliest && *s < at);
    boundary.unwrap_or_else(|| earliest.min(at.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn turns(lengths: &[usize]) -> (usize, Vec<(usize, Range<usize>)>) {
        let mut at = 0;
        let mut out = Vec::new();
        for (turn, length) in lengths.iter().enumerate() {
            out.push((turn, at + 1..at + 1 + length));
            at += 1 + length;
        }
        (at, out)
    }

    #[test]
    fn a_short_conversation_is_one_window() {
        let (length, turns) = turns(&[3, 4, 5]);
        let windows = windows(length, &turns, 512);
        assert_eq!(windows, [Window { tokens: 0..15, targets: turns }]);
    }

    #[test]
    fn a_new_window_starts_with_whole_turns_of_context() {
        let (length, turns) = turns(&[9, 9, 4, 9]);
        let windows = windows(length, &turns, 25);
        assert_eq!(windows.len(), 2);
        assert_eq!(windows[1].tokens, 20..35);
        assert_eq!(windows[1].targets, [(3, 26..35)]);
    }

    proptest! {
        #[test]
        fn every_target_once_and_within_size(lengths in proptest::collection::vec(1usize..90, 1..20), size in 4usize..64) {
            let (length, turns) = turns(&lengths);
            let windows = windows(length, &turns, size);
            let mut seen = Vec::new();
            for window in &windows {
                prop_assert!(window.tokens.len() <= size, "{window:?}");
                prop_assert!(window.tokens.end <= length);
                for (turn, range) in &window.targets {
                    prop_assert!(range.start > window.tokens.start && range.end <= window.tokens.end, "{window:?}");
                    seen.extend(range.clone().map(|p| (*turn, p)));
                }
            }
            let wanted: Vec<_> = turns.iter().flat_map(|(t, r)| r.clone().map(|p| (*t, p))).collect();
            prop_assert_eq!(seen, wanted);
        }
    }
}
