//! The training turns, their folds, and the order in which they are seen.

use crate::error::Result;
use crate::head::Head;
use crate::job::{Job, Part, Turn};
use crate::memory::{Memory, Mixed, Mixer, Projection, Sample, fit, rows_of};
use crate::rng::Rng;
use crate::starter::Starter;
use crate::training::candidates::Candidates;
use crate::training::read::{Read, read};
use crate::training::{Progress, Tell};
use std::collections::BTreeSet;

/// Tokens from which four folds are used instead of two. Below, four opened more (13 % against 8 %), gained no more
/// and took 1.7 times as long (3 persona users, 5 epochs at rate 3e-3).
const MANY_TOKENS: usize = 10_000;

/// A training turn with what is known of it beforehand.
pub(super) struct Known<'a> {
    pub(super) turn: &'a Turn,
    pub(super) fold: u64,
    /// Number of its first token among all training tokens.
    pub(super) first: usize,
    /// Base's log-probability of every target.
    pub(super) base: Vec<f32>,
    /// Votes of the memory at every target, of other conversations only; none without a memory.
    pub(super) mixed: Vec<Mixed>,
    /// Candidates of every target; none where all rows are computed.
    pub(super) candidates: Vec<Candidates>,
}

/// All training turns.
pub(super) struct Data<'a> {
    turns: Vec<Known<'a>>,
    folds: u64,
    batch: usize,
    seed: u64,
    memory: Option<Memory>,
}

impl<'a> Data<'a> {
    pub(super) fn new(
        job: &'a Job,
        head: &Head,
        starter: Option<&Starter>,
        tell: &mut Tell<'_>,
    ) -> Result<Self> {
        let train: Vec<&Turn> = job.turns.iter().filter(|t| t.trains()).collect();
        let tokens: usize = train.iter().map(|t| t.targets.len()).sum();
        let folds = if tokens < MANY_TOKENS { 2 } else { 4 };
        let fold_of = assign(&train, folds, job.seed);
        let total = train.len() as u64;
        let projection = match starter {
            Some(starter) => starter.projection(),
            None => Projection::seeded(job.shape.hidden),
        };
        let rows = (job.variant.remembers() && job.settings.memory)
            .then(|| rows_of(projection, train.iter().copied()));
        let most = job.settings.candidates_for(job.variant, job.shape.vocab);
        let mut reads = Vec::new();
        for (done, turn) in (0..).zip(&train) {
            tell(Progress { done, total, stage: "reading the lessons".to_owned(), nll: None, gated: false });
            reads.push(read(turn, head, rows.as_ref(), most)?);
        }
        // Where there is only one conversation, nothing shows what the memory is worth.
        let samples = || reads.iter().flat_map(|read| read.samples.iter().flatten());
        let said = train.iter().zip(&reads).filter(|(turn, _)| turn.part == Part::Train);
        let shown = said.flat_map(|(_, read)| &read.samples).any(Option::is_some);
        let rows = rows.filter(|_| shown);
        let prior = starter.map_or_else(Mixer::default, |starter| starter.mixer);
        let memory = rows.map(|rows| Memory { mixer: fit(&samples().collect::<Vec<_>>(), prior), rows });
        let (mut turns, mut first) = (Vec::new(), 0);
        for (number, (turn, Read { base, samples, candidates })) in train.into_iter().zip(reads).enumerate() {
            let mixed = |sample: Option<Sample>, memory: &Memory| {
                sample.map_or_else(Mixed::default, |sample| memory.mixer.mix(&sample.near))
            };
            let mixed = match &memory {
                Some(memory) => samples.into_iter().map(|sample| mixed(sample, memory)).collect(),
                None => Vec::new(),
            };
            turns.push(Known { turn, fold: fold_of(number, turn), first, base, mixed, candidates });
            first += turn.targets.len();
        }
        // An always-open variant needs no gate, hence no folds.
        let folds = if job.variant.gated() && job.settings.cross_fit { folds } else { 0 };
        Ok(Self { turns, folds, batch: job.settings.batch.max(1), seed: job.seed, memory })
    }

    pub(super) fn folds(&self) -> u64 {
        self.folds
    }

    /// Rows of the training turns and the mixer fitted on them.
    pub(super) fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    pub(super) fn turns(&self) -> &[Known<'a>] {
        &self.turns
    }

    pub(super) fn train_tokens(&self) -> usize {
        self.turns.iter().map(|k| k.turn.targets.len()).sum()
    }

    /// Turns that a fold does not train on, by number; none in the final stage.
    pub(super) fn held_back(&self, stage: u64) -> Vec<usize> {
        (0..self.turns.len()).filter(|n| self.turns.get(*n).is_some_and(|k| k.fold == stage)).collect()
    }

    /// The turns of every batch of an epoch, by number.
    pub(super) fn batches(&self, stage: u64, epoch: u64) -> Vec<Vec<usize>> {
        let is_final = stage >= self.folds;
        let mut order: Vec<usize> = (0..self.turns.len())
            .filter(|n| is_final || self.turns.get(*n).is_some_and(|k| k.fold != stage))
            .collect();
        Rng::at(self.seed, &[1, stage, epoch]).shuffle(&mut order);
        let mut batches: Vec<Vec<usize>> = Vec::new();
        let mut room = 0;
        for number in order {
            let length = self.turns.get(number).map_or(0, |k| k.turn.targets.len());
            if room == 0 {
                batches.push(Vec::new());
                room = self.batch;
            }
            room = room.saturating_sub(length);
            if let Some(batch) = batches.last_mut() {
                batch.push(number);
            }
        }
        batches
    }

    /// Puts a fold's gains where its tokens are.
    pub(super) fn scatter(&self, stage: u64, gains: &[f32], all: &mut [f32]) {
        let places = self.held_back(stage).into_iter().filter_map(|n| self.turns.get(n));
        let places = places.flat_map(|k| k.first..k.first + k.turn.targets.len());
        for (place, gain) in places.zip(gains) {
            if let Some(slot) = all.get_mut(place) {
                *slot = *gain;
            }
        }
    }
}

/// Whole conversations go to one fold; a single conversation is split by turns. Generic text is dealt out beside them.
fn assign(train: &[&Turn], folds: u64, seed: u64) -> impl Fn(usize, &Turn) -> u64 + use<> {
    let said = train.iter().filter(|t| t.part == Part::Train);
    let set: BTreeSet<u64> = said.map(|t| t.conversation).collect();
    let mut conversations: Vec<u64> = set.into_iter().collect();
    Rng::at(seed, &[2]).shuffle(&mut conversations);
    move |number, turn| match conversations.as_slice() {
        _ if turn.part == Part::Generic => turn.conversation % folds,
        [] | [_] => number as u64 % folds,
        many => many.iter().position(|c| *c == turn.conversation).unwrap_or(0) as u64 % folds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aside_codec::{Layout, States};

    #[test]
    fn generic_text_changes_no_fold_of_what_was_said() {
        let layout = Layout { hidden: 32, layer_taps: 1 };
        let turn = |conversation, part| Turn {
            conversation,
            own: true,
            weight: 1.0,
            part,
            targets: vec![1],
            states: States::encode(layout, &[0.5; 32], &[1.0; 32]),
        };
        let one: Vec<Turn> = (0..6).map(|_| turn(7, Part::Train)).collect();
        let generic: Vec<Turn> = (0..4).map(|n| turn((1 << 62) + n, Part::Generic)).collect();
        let folds = |turns: &[&Turn]| -> Vec<u64> {
            let of = assign(turns, 2, 5);
            turns.iter().enumerate().map(|(n, turn)| of(n, turn)).collect()
        };
        let together: Vec<&Turn> = one.iter().chain(&generic).collect();
        assert_eq!(folds(&together), [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
        let two: Vec<Turn> = (0..2).map(|n| turn(n, Part::Train)).collect();
        let together: Vec<&Turn> = two.iter().chain(&generic).collect();
        assert_ne!(folds(&together)[0], folds(&together)[1]);
    }
}
