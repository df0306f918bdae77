//! Prepares a backbone: learns on public conversations what its devices begin with (method, sections 3 and 8). Runs where
//! the engine is, not on a device.

mod people;

use aside_adapter::{Generic, LAMBDA, Part, People, Starter, Turn};
use aside_cloud_api::codec::States;

pub use people::{Public, Talk, people};

use crate::kit::{Kit, KitError, Message, Said};
use crate::learn::{generic, windows};

/// Tokens that are measured at most.
const MEASURED: usize = 40_000;
/// States that show which directions of them matter.
const SAMPLED: usize = 8_192;
/// Sequences of generic text, and tokens of each that the backbone writes.
const GENERIC: [usize; 2] = [32, 128];

/// A backbone in this process.
pub trait Engine {
    /// The states of the positions of `tokens`, quantised as on the wire.
    ///
    /// # Errors
    /// What the engine says.
    fn states(&mut self, tokens: &[u32]) -> Result<States, String>;

    /// `prefix` and `length` tokens more, drawn from the backbone as it is; the same seed draws the same.
    ///
    /// # Errors
    /// What the engine says.
    fn sample(&mut self, prefix: &[u32], length: usize, seed: u64) -> Result<Vec<u32>, String>;
}

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
    /// Conversations that the chat template refuses.
    pub refused: usize,
    /// Tokens measured.
    pub tokens: usize,
    /// Mean loss in nats per token of base, and with the memory open everywhere.
    pub nll: (f64, f64),
    /// Share of tokens that the gate opens on people it was not fitted on, the generic text among theirs counted; nothing
    /// where opening never paid.
    pub open_rate: Option<f32>,
}

/// Learns the starter of a backbone; `tell` hears how many people are done.
///
/// # Errors
/// [`PrepareError`].
pub fn prepare(
    kit: &Kit,
    public: &Public,
    engine: &mut dyn Engine,
    mut tell: impl FnMut(usize),
) -> Result<Prepared, PrepareError> {
    tell(0);
    let text = write(kit, engine)?;
    let generic = generic_turns(&text, engine)?;
    let mut found = People::new(kit.hidden(), &sample(kit, public, engine)?)?;
    let (mut done, mut refused) = (0, 0);
    for talks in public.people.values() {
        if found.tokens() >= MEASURED {
            break;
        }
        let mut said = Vec::new();
        for (number, talk) in (0..).zip(talks) {
            let part = if talk.measured { Part::HeldOut } else { Part::Train };
            // As on a device: instructions are no lesson, and what the template refuses is passed over.
            let wanted = |turn: usize| talk.lines.get(turn).is_some_and(|line| line.role != "system");
            match turns(kit, number, &talk.lines, wanted, |tokens| engine.states(tokens)) {
                Ok(turns) => said.extend(turns.into_iter().map(|turn| Turn { part, ..turn })),
                Err(PrepareError::Kit(KitError::Template(_))) => refused += 1,
                Err(error) => return Err(error),
            }
        }
        // As much as a training of these would see; each person meets other sequences.
        let measured: Vec<Turn> = said.iter().filter(|turn| turn.part != Part::Train).cloned().collect();
        let training: Vec<Turn> =
            measured.into_iter().map(|turn| Turn { part: Part::Train, ..turn }).collect();
        let mut others = generic.clone();
        others.rotate_left(done % generic.len().max(1));
        said.extend(generic::beside(&others, &training));
        found.add(&said, kit.head())?;
        done += 1;
        tell(done);
    }
    let starter = found.starter(kit.model(), kit.hidden(), LAMBDA, text)?;
    let bytes = starter.to_bytes()?;
    // What devices could not read must not be written.
    Starter::from_bytes(&bytes)?;
    let open_rate = starter.gate().map(|gate| gate.table.first().map_or(0.0, |(_, rate)| *rate));
    Ok(Prepared {
        nll: found.nll(&starter),
        starter: bytes,
        people: done,
        refused,
        tokens: found.tokens(),
        open_rate,
    })
}

/// Last hidden states of the first people, where keys are narrower than a state: they show which directions matter.
fn sample(kit: &Kit, public: &Public, engine: &mut dyn Engine) -> Result<Vec<f32>, PrepareError> {
    let mut states = Vec::new();
    if kit.hidden() <= aside_adapter::WIDEST_KEY {
        return Ok(states);
    }
    for talk in public.people.values().flatten() {
        if states.len() >= SAMPLED * kit.hidden() {
            break;
        }
        match turns(kit, 0, &talk.lines, |_| true, |tokens| engine.states(tokens)) {
            Ok(turns) => turns.iter().for_each(|turn| states.extend(turn.states.z())),
            Err(PrepareError::Kit(KitError::Template(_))) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(states)
}

/// What the backbone writes by itself where a user's turn begins.
fn write(kit: &Kit, engine: &mut dyn Engine) -> Result<Generic, PrepareError> {
    let encoded = kit.encode_conversation(&[Message::new("user", "Hi")])?;
    let context = encoded.spans.first().map_or(0, |span| span.start).max(1);
    let prefix = encoded.ids.get(..context).unwrap_or_default();
    let [count, length] = GENERIC;
    let length = length.min(kit.window().saturating_sub(context));
    if length == 0 {
        return Ok(Generic::default());
    }
    let sequences = (0..count as u64).map(|seed| engine.sample(prefix, length, seed));
    let sequences = sequences.collect::<Result<_, _>>().map_err(PrepareError::Engine)?;
    Ok(Generic { sequences, context })
}

/// Generic text with its states.
///
/// # Errors
/// [`PrepareError::Engine`].
pub fn generic_turns(text: &Generic, engine: &mut dyn Engine) -> Result<Vec<Turn>, PrepareError> {
    let wrong = |why: String| PrepareError::Engine(why);
    let mut out = Vec::new();
    for (number, sequence) in text.sequences.iter().enumerate() {
        let before = sequence.get(..sequence.len().saturating_sub(1)).unwrap_or_default();
        let states = engine.states(before).map_err(wrong)?;
        let layout = states.layout();
        let from = text.context.saturating_sub(1) * layout.bytes();
        let bytes = states.bytes().get(from..).unwrap_or_default().to_vec();
        let states = States::new(layout, bytes).map_err(|error| wrong(error.to_string()))?;
        out.push(generic::turn(number, sequence, text.context, states));
    }
    Ok(out)
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
