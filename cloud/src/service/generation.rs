//! One answer as a pure state machine: it says which tokens to feed next and what to send, and never passes an open
//! position that the device has not decided (method, section 6, blocking protocol).

use aside_cloud_api::proto::DoneReason;

/// What a chosen token leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Feed on.
    Continue,
    /// The answer is over.
    Over(DoneReason),
}

/// Bounds of one answer.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) max_tokens: u32,
    pub(super) stop: Vec<u32>,
    pub(super) context: usize,
}

/// Where an answer stands.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    bounds: Bounds,
    /// Tokens to feed before the next position is known.
    pending: Vec<u32>,
    /// Tokens of the whole sequence once `pending` is fed.
    length: usize,
    /// Index in the answer of the position that comes next.
    index: u32,
    /// The index of an open position that waits for the device.
    open: Option<u32>,
    /// Open positions so far.
    opened: u32,
}

impl Generation {
    /// `pending` is what the cache lacks of prompt and chosen tokens, `length` how many these are in all, `index` how
    /// many tokens of the answer are chosen, `last` the last of them, `opened` how many were open. `Err` when nothing is left to generate.
    pub(super) fn start(
        bounds: Bounds,
        pending: Vec<u32>,
        length: usize,
        index: u32,
        last: Option<u32>,
        opened: u32,
    ) -> Result<Self, DoneReason> {
        let generation = Self { bounds, pending, length, index, open: None, opened };
        match last.map_or(After::Continue, |id| generation.after(id)) {
            After::Continue if index >= generation.bounds.max_tokens => Err(DoneReason::Length),
            After::Continue => Ok(generation),
            After::Over(reason) => Err(reason),
        }
    }

    /// Tokens to feed now, `most` at most; empty while the device has to choose.
    pub(super) fn feed(&self, most: usize) -> &[u32] {
        if self.open.is_some() {
            &[]
        } else {
            self.pending.get(..most.min(self.pending.len())).unwrap_or(&[])
        }
    }

    /// `count` tokens were fed; true when the position behind them is the next of the answer.
    pub(super) fn fed(&mut self, count: usize) -> bool {
        self.pending.drain(..count.min(self.pending.len()));
        self.pending.is_empty()
    }

    /// Index of the position that comes next.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// The position is closed and the cloud chose `id`.
    pub(super) fn closed(&mut self, id: u32) -> After {
        self.chosen(id)
    }

    /// The position is open: wait.
    pub(super) fn opened(&mut self) {
        self.open = Some(self.index);
        self.opened = self.opened.saturating_add(1);
    }

    /// How many positions were open so far.
    pub(super) fn open_before(&self) -> u32 {
        self.opened
    }

    /// The device's choice; `None` when no position of that index waits.
    pub(super) fn choose(&mut self, index: u32, id: u32) -> Option<After> {
        (self.open == Some(index)).then(|| {
            self.open = None;
            self.chosen(id)
        })
    }

    fn chosen(&mut self, id: u32) -> After {
        self.index += 1;
        self.length += 1;
        self.pending.push(id);
        self.after(id)
    }

    fn after(&self, id: u32) -> After {
        if self.bounds.stop.contains(&id) {
            After::Over(DoneReason::Stop)
        } else if self.index >= self.bounds.max_tokens {
            After::Over(DoneReason::Length)
        } else if self.length >= self.bounds.context {
            After::Over(DoneReason::ContextFull)
        } else {
            After::Continue
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bounds() -> Bounds {
        Bounds { max_tokens: 5, stop: vec![9], context: 100 }
    }

    #[test]
    fn an_answer_that_is_over_does_not_start() {
        let start = |index, last| Generation::start(bounds(), vec![1], 10, index, last, 0).err();
        assert_eq!(start(0, None), None);
        assert_eq!(start(2, Some(9)), Some(DoneReason::Stop));
        assert_eq!(start(5, Some(1)), Some(DoneReason::Length));
        assert_eq!(
            Generation::start(bounds(), vec![1], 100, 1, Some(1), 0).err(),
            Some(DoneReason::ContextFull)
        );
    }

    #[test]
    fn an_open_position_stops_everything_until_it_is_chosen() {
        let mut g = Generation::start(bounds(), vec![1, 2, 3], 3, 0, None, 0).unwrap();
        assert_eq!(g.feed(2), [1, 2]);
        assert!(!g.fed(2) && g.fed(1));
        g.opened();
        assert!(g.feed(8).is_empty());
        assert_eq!(g.choose(1, 4), None);
        assert_eq!(g.choose(0, 4), Some(After::Continue));
        assert_eq!(g.choose(0, 4), None, "a second choice is ignored");
        assert_eq!(g.feed(8), [4]);
        g.fed(1);
        assert_eq!(g.closed(9), After::Over(DoneReason::Stop));
    }

    proptest! {
        #[test]
        fn indices_have_no_gap_and_the_bound_holds(
            prompt in 1usize..50,
            choices in proptest::collection::vec((any::<bool>(), 0u32..12), 0..20),
        ) {
            let mut g = Generation::start(bounds(), (0..prompt as u32).collect(), prompt, 0, None, 0).unwrap();
            let mut emitted = 0;
            for (open, id) in choices {
                while !g.feed(7).is_empty() {
                    let n = g.feed(7).len();
                    g.fed(n);
                }
                prop_assert_eq!(g.index(), emitted);
                let after = if open {
                    g.opened();
                    prop_assert!(g.feed(7).is_empty());
                    g.choose(emitted, id).unwrap()
                } else {
                    g.closed(id)
                };
                emitted += 1;
                prop_assert_eq!(after == After::Over(DoneReason::Stop), id == 9);
                if after != After::Continue {
                    break;
                }
            }
            prop_assert!(emitted <= 5);
        }
    }
}
