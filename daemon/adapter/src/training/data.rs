//! The training turns, their folds, and the order in which they are seen.

use crate::error::Result;
use crate::head::Head;
use crate::job::{Job, Part, Turn};
use crate::loss::log_softmax;
use crate::memory::{BaseView, Memory, Mixed, Sample, fit, rows_of};
use crate::rng::Rng;
use crate::training::{Progress, Tell};
use candle_core::{Device, Tensor};
use std::collections::BTreeSet;

/// Tokens from which four folds are used instead of two. Below, four opened more (13 % against 8 %), gained no more
/// and took 1.7 times as long (3 persona users, 5 epochs at rate 3e-3).
const MANY_TOKENS: usize = 10_000;
/// Rows of logits computed at once, in values.
pub(super) const LOGITS_AT_ONCE: usize = 2 << 20;

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
    pub(super) fn new(job: &'a Job, head: &Head, dense: &Tensor, tell: &mut Tell<'_>) -> Result<Self> {
        let train: Vec<&Turn> = job
            .turns
            .iter()
            .filter(|t| t.part == Part::Train && t.weight > 0.0 && !t.targets.is_empty())
            .collect();
        let tokens: usize = train.iter().map(|t| t.targets.len()).sum();
        let folds = if tokens < MANY_TOKENS { 2 } else { 4 };
        let fold_of = assign(&train, folds, job.seed);
        let mut turns = Vec::new();
        let mut first = 0;
        // Both passes go over all turns.
        let passes = if job.variant.remembers() && job.settings.memory { 2 } else { 1 };
        let total = passes * train.len() as u64;
        let mut read = |done: u64| {
            tell(Progress { done, total, stage: "reading the lessons".to_owned(), nll: None, gated: false });
        };
        let memory = if passes == 2 { learn_memory(&train, head, dense, &mut read)? } else { None };
        for (number, turn) in train.into_iter().enumerate() {
            read(total - total / passes + number as u64);
            let (mut base, mut mixed) = (Vec::new(), Vec::new());
            each_base(turn, head, dense, |token, z, log_probs| {
                base.push(log_probs.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY));
                mixed.extend(memory.as_ref().map(|m| m.at(z, log_probs, Some(turn.conversation))));
            })?;
            turns.push(Known { turn, fold: fold_of(number, turn), first, base, mixed });
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

/// Whole conversations go to one fold; a single conversation is split by turns.
fn assign(train: &[&Turn], folds: u64, seed: u64) -> impl Fn(usize, &Turn) -> u64 + use<> {
    let set: BTreeSet<u64> = train.iter().map(|t| t.conversation).collect();
    let mut conversations: Vec<u64> = set.into_iter().collect();
    Rng::at(seed, &[2]).shuffle(&mut conversations);
    move |number, turn| match conversations.as_slice() {
        [] | [_] => number as u64 % folds,
        many => many.iter().position(|c| *c == turn.conversation).unwrap_or(0) as u64 % folds,
    }
}

/// Rows of all training turns, and a mixer fitted on tokens whose neighbours are of other conversations; `None` where
/// there is only one, for then nothing shows what the memory is worth.
fn learn_memory(
    train: &[&Turn],
    head: &Head,
    dense: &Tensor,
    read: &mut impl FnMut(u64),
) -> Result<Option<Memory>> {
    let rows = rows_of(head.hidden(), train.iter().copied());
    let mut samples = Vec::new();
    for (done, turn) in (0..).zip(train) {
        read(done);
        each_base(turn, head, dense, |token, z, log_probs| {
            let near = rows.nearest(z, Some(turn.conversation));
            samples.extend(Sample::new(&near, &BaseView::of(log_probs), token, f64::from(turn.weight)));
        })?;
    }
    Ok((!samples.is_empty()).then(|| Memory { mixer: fit(&samples), rows }))
}

/// Gives every target with its z and base's log-probabilities (V).
fn each_base(
    turn: &Turn,
    head: &Head,
    dense: &Tensor,
    mut each: impl FnMut(u32, &[f32], &[f32]),
) -> Result<()> {
    let (hidden, vocab) = (head.hidden(), head.vocab());
    let rows = (LOGITS_AT_ONCE / vocab).max(1);
    for (states, targets) in turn.z.chunks(rows * hidden).zip(turn.targets.chunks(rows)) {
        let z = Tensor::from_slice(states, (targets.len(), hidden), &Device::Cpu)?;
        let mut logits = z.matmul(&dense.t()?)?.flatten_all()?.to_vec1::<f32>()?;
        for ((row, z), token) in logits.chunks_exact_mut(vocab).zip(states.chunks_exact(hidden)).zip(targets)
        {
            log_softmax(row);
            each(*token, z, row);
        }
    }
    Ok(())
}
