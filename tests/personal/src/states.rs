//! Turns with the states of the bundled backbone, quantised as on the wire: what a device would have cached.

use std::sync::Arc;

use aside_adapter::{Part, Turn};
use aside_cloud::engine::{Backbone, Chunk, EngineError, bundled};
use aside_cloud_api::codec::{Layout, States};
use aside_daemon::kit::Kit;
use aside_daemon::prepare::{Engine, generic_turns, turns};

use crate::Fallible;
use crate::people::{Person, Talk};

/// The backbone and its kit.
pub(crate) struct Encoder {
    engine: Local,
    pub(crate) kit: Kit,
    /// Generic text of the backbone.
    pub(crate) generic: Vec<Turn>,
}

struct Local {
    backbone: Box<dyn Backbone>,
    layout: Layout,
}

impl Engine for Local {
    fn states(&mut self, tokens: &[u32]) -> Result<States, String> {
        let why = |error: EngineError| error.to_string();
        let sequence = self.backbone.begin().map_err(why)?;
        let hidden = self.backbone.forward(&[Chunk { sequence, tokens }]);
        self.backbone.end(sequence);
        let hidden = hidden.map_err(why)?.pop().ok_or("it gave nothing")?;
        Ok(States::encode(self.layout, &hidden.taps, &hidden.z))
    }

    fn sample(&mut self, _: &[u32], _: usize, _: u64) -> Result<Vec<u32>, String> {
        Err("generic text comes with the kit".into())
    }
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
        let mut engine = Local { backbone: loaded.backbone, layout: kit.layout() };
        let text = kit.starter().map(|starter| starter.generic().clone()).unwrap_or_default();
        let generic = generic_turns(&text, &mut engine)?;
        Ok(Self { engine, kit, generic })
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
        let Self { engine, kit, .. } = self;
        let own = |turn: usize| talk.lines.get(turn).is_some_and(|line| line.role == "user");
        let wanted = |turn: usize| own(turn) || !talk.own_only;
        Ok(turns(kit, conversation, &talk.lines, wanted, |tokens| engine.states(tokens))?)
    }
}
