//! Turns with the states of the bundled backbone, quantised as on the wire: what a device would have cached.

use std::sync::Arc;

use aside_adapter::{Part, Turn};
use aside_cloud::engine::{Backbone, Chunk, bundled};
use aside_cloud_api::codec::{Layout, States};
use aside_daemon::kit::Kit;
use aside_daemon::learn::windows;

use crate::Fallible;
use crate::people::{Person, Talk};

/// The backbone and its kit.
pub(crate) struct Encoder {
    backbone: Box<dyn Backbone>,
    pub(crate) kit: Kit,
}

/// What one person said, to learn from and to measure on.
pub(crate) struct Lessons {
    pub(crate) train: Vec<Turn>,
    pub(crate) test: Vec<Turn>,
}

impl Encoder {
    pub(crate) fn new() -> Fallible<Self> {
        let loaded = bundled()?;
        let kit = Kit::open(Arc::clone(&loaded.kit.bytes), &loaded.kit.sha256)?;
        Ok(Self { backbone: loaded.backbone, kit })
    }

    /// Every fifth turn of the lessons is held out, a quarter of these for early stopping.
    pub(crate) fn lessons(&mut self, person: &Person) -> Fallible<Lessons> {
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for (number, talk) in (0..).zip(&person.talks) {
            let turns = self.turns(number, talk)?;
            if talk.train { &mut train } else { &mut test }.extend(turns);
        }
        for (number, turn) in train.iter_mut().enumerate() {
            turn.part = match number % 20 {
                4 => Part::EarlyStop,
                9 | 14 | 19 => Part::HeldOut,
                _ => Part::Train,
            };
        }
        Ok(Lessons { train, test })
    }

    fn turns(&mut self, conversation: u64, talk: &Talk) -> Fallible<Vec<Turn>> {
        let encoded = self.kit.encode_conversation(&talk.lines)?;
        let own = |turn: usize| talk.lines.get(turn).is_some_and(|line| line.role == "user");
        let spans = encoded.spans.iter().cloned().enumerate();
        let wanted: Vec<_> = spans.filter(|(turn, _)| own(*turn) || !talk.own_only).collect();
        let layout = self.kit.layout();
        let mut out: Vec<(usize, Turn)> = Vec::new();
        for window in windows(encoded.ids.len(), &wanted, self.kit.window()) {
            let tokens = encoded.ids.get(window.tokens.start..window.tokens.end - 1).unwrap_or(&[]);
            let states = self.forward(tokens, layout)?;
            for (turn, range) in window.targets {
                let targets = encoded.ids.get(range.clone()).unwrap_or(&[]).to_vec();
                let places = range.start - 1 - window.tokens.start..range.end - 1 - window.tokens.start;
                let bytes = states.bytes().chunks_exact(layout.bytes()).take(places.end).skip(places.start);
                let states = States::new(layout, bytes.flatten().copied().collect())?;
                match out.last_mut().filter(|(last, _)| *last == turn) {
                    Some((_, last)) => {
                        last.targets.extend(targets);
                        last.states.extend(&states);
                    }
                    None => {
                        let (own, part) = (own(turn), Part::HeldOut);
                        out.push((turn, Turn { conversation, own, weight: 1.0, part, targets, states }));
                    }
                }
            }
        }
        Ok(out.into_iter().map(|(_, turn)| turn).filter(|t| !t.targets.is_empty()).collect())
    }

    /// The states of all positions.
    fn forward(&mut self, tokens: &[u32], layout: Layout) -> Fallible<States> {
        let sequence = self.backbone.begin()?;
        let hidden = self.backbone.forward(&[Chunk { sequence, tokens }]);
        self.backbone.end(sequence);
        let hidden = hidden?.pop().ok_or("the engine gave nothing")?;
        Ok(States::encode(layout, &hidden.taps, &hidden.z))
    }
}
