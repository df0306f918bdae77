//! Prepares a backbone: learns on public conversations what its devices begin with (method, sections 3 and 8). Runs where
//! the engine is, not on a device.

mod people;

use aside_adapter::{LAMBDA, Part, People, Turn};
use aside_cloud_api::codec::States;

pub use people::{Public, Talk, people};

use crate::kit::{Kit, KitError, Said};
use crate::learn::windows;

/// Tokens that are measured at most.
const MEASURED: usize = 40_000;

/// Why nothing was prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The kit's template or tokenizer failed.
    #[error(transparent)]
    Kit(#[from] KitError),
    /// The engine failed.
    #[error("the engine: {0}")]
    Engine(String),
    /// There is nothing to fit, or fitting failed.
    #[error(transparent)]
    Adapter(#[from] aside_adapter::AdapterError),
}

/// A starter and what was measured on the way.
#[derive(Debug)]
pub struct Prepared {
    /// The file.
    pub starter: Vec<u8>,
    /// People.
    pub people: usize,
    /// Tokens measured.
    pub tokens: usize,
    /// Mean loss in nats per token of base, and with the memory open everywhere.
    pub nll: (f64, f64),
    /// Share of tokens that the gate opens on people it was not fitted on; nothing where opening never paid.
    pub open_rate: Option<f32>,
}

/// Learns the starter of a backbone. `forward` gives the states of a window's positions; `tell` hears how many people
/// are done.
///
/// # Errors
/// [`PrepareError`].
pub fn prepare(
    kit: &Kit,
    public: &Public,
    mut forward: impl FnMut(&[u32]) -> Result<States, String>,
    mut tell: impl FnMut(usize),
) -> Result<Prepared, PrepareError> {
    let mut found = People::default();
    let mut done = 0;
    for talks in public.people.values() {
        if found.tokens() >= MEASURED {
            break;
        }
        tell(done);
        let mut said = Vec::new();
        for (number, talk) in (0..).zip(talks) {
            let part = if talk.measured { Part::HeldOut } else { Part::Train };
            let turns = turns(kit, number, &talk.lines, |_| true, |tokens| forward(tokens))?;
            said.extend(turns.into_iter().map(|turn| Turn { part, ..turn }));
        }
        found.add(&said, kit.head())?;
        done += 1;
    }
    tell(done);
    let starter = found.starter(kit.model(), kit.hidden(), LAMBDA)?;
    let open_rate = starter.gate().map(|gate| gate.table.first().map_or(0.0, |(_, rate)| *rate));
    Ok(Prepared {
        nll: found.nll(&starter),
        starter: starter.to_bytes()?,
        people: done,
        tokens: found.tokens(),
        open_rate,
    })
}

/// The turns of one conversation that are `wanted` by number, with states of an engine in this process, quantised as on
/// the wire: what a device would have cached.
///
/// # Errors
/// [`PrepareError::Kit`], and [`PrepareError::Engine`] for what `forward` says.
pub fn turns(
    kit: &Kit,
    conversation: u64,
    lines: &[impl Said],
    wanted: impl Fn(usize) -> bool,
    mut forward: impl FnMut(&[u32]) -> Result<States, String>,
) -> Result<Vec<Turn>, PrepareError> {
    let encoded = kit.encode_conversation(lines)?;
    let own = |turn: usize| lines.get(turn).is_some_and(|line| line.role() == "user");
    let spans = encoded.spans.iter().cloned().enumerate();
    let wanted: Vec<_> = spans.filter(|(turn, _)| wanted(*turn)).collect();
    let layout = kit.layout();
    let mut out: Vec<(usize, Turn)> = Vec::new();
    for window in windows(encoded.ids.len(), &wanted, kit.window()) {
        let tokens = encoded.ids.get(window.tokens.start..window.tokens.end - 1).unwrap_or(&[]);
        let states = forward(tokens).map_err(PrepareError::Engine)?;
        for (turn, range) in window.targets {
            let targets = encoded.ids.get(range.clone()).unwrap_or(&[]).to_vec();
            // The state at t predicts t + 1.
            let places = range.start - 1 - window.tokens.start..range.end - 1 - window.tokens.start;
            let bytes = states.bytes().chunks_exact(layout.bytes()).take(places.end).skip(places.start);
            let states = States::new(layout, bytes.flatten().copied().collect())
                .map_err(|error| PrepareError::Engine(error.to_string()))?;
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
    Ok(out.into_iter().map(|(_, turn)| turn).filter(|turn| !turn.targets.is_empty()).collect())
}
