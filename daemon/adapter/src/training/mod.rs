//! One training, step by step (method, sections 4 and 5): cross-fitting folds first, whose out-of-fold gains fit the
//! gate, then the network that is kept, on all training turns, with that gate's probabilities in its objective. All
//! randomness is computed from (seed, stage, epoch, batch), so a checkpoint resumes bit for bit.

mod candidates;
mod checkpoint;
mod data;
mod gating;
mod read;
mod starter;
mod step;

use crate::adapter::Adapter;
use crate::error::{AdapterError, Result};
use crate::evaluate::{Evaluation, evaluate};
use crate::gate::Gate;
use crate::head::Head;
use crate::job::{Job, Part, Settings, Turn};
use crate::memory::rows_of;
use crate::optimiser::AdamW;
use crate::side::SideNetwork;
use crate::starter::Starter;
pub(crate) use candidates::automatic;
use data::Data;
pub use starter::People;

/// Epochs without a better one after which a stage ends.
const PATIENCE: u64 = 6;
/// Early-stop tokens below which the last epoch is kept: the folds, which hold back far more, have chosen how many.
/// An always-open variant has no folds, and any early-stop token is better than none.
const ENOUGH_TO_STOP: usize = 1000;
/// Gate probability with which an epoch of a fold is judged. Judged always open, a fold stops for tokens that a gate
/// keeps closed: gated NLL -1.4 % instead of -2.0 % (3 persona users, 5 epochs at rate 3e-3, ladder at 0.1).
const JUDGED_AT: f64 = 0.5;
/// Share of the final steps with every position open.
const WARM_START: f64 = 0.2;

/// How far a training is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Steps done, and in all if no stage ends early.
    pub done: u64,
    /// See `done`.
    pub total: u64,
    /// Stage in words.
    pub stage: String,
    /// Loss in nats per token of base and of the adapter, on turns it was not fitted on; once measured. In the folds, which
    /// have no gate yet, every position is open.
    pub nll: Option<(f64, f64)>,
    /// The adapter's loss is that with the gate's choice.
    pub gated: bool,
}

/// Told how far the preparation is.
pub type Tell<'a> = dyn FnMut(Progress) + 'a;

/// What a training gives.
pub struct Candidate {
    /// The network with its gate.
    pub adapter: Adapter,
    /// On held-out turns; `tokens` is 0 when there are none.
    pub held_out: Evaluation,
    /// Epochs of the network that is kept.
    pub epochs: u64,
}

/// The best epoch of a stage so far.
#[derive(Clone, PartialEq)]
struct Best {
    cost: f64,
    epoch: u64,
    /// Of a fold: the gains on its held-back tokens. Of the final stage: nothing.
    gains: Vec<f32>,
    /// Of the final stage: the parameters. Of a fold: nothing.
    values: Vec<Vec<f32>>,
}

/// A training in progress.
pub struct Training<'a> {
    job: &'a Job,
    head: &'a Head,
    starter: Option<Starter>,
    data: Data<'a>,
    network: SideNetwork,
    optimiser: AdamW,
    /// Folds are 0..folds, the final stage is `folds`.
    stage: u64,
    epoch: u64,
    batch: u64,
    best: Option<Best>,
    /// Out-of-fold gain D of every training token; what no fold has reached is 0.
    gains: Vec<f32>,
    /// Best epochs of the finished folds.
    epochs: Vec<u64>,
    /// Fitted when the folds are done.
    gate: Option<Gate>,
    last: Option<(f64, f64)>,
    finished: bool,
}

impl<'a> Training<'a> {
    /// Starts.
    ///
    /// # Errors
    /// [`crate::AdapterError`] when the job does not hold together or holds nothing to train on.
    pub fn new(job: &'a Job, head: &'a Head) -> Result<Self> {
        Self::prepare(job, head, &mut |_| ())
    }

    /// The same, telling how far reading the lessons is, which takes a while when there are many.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn prepare(job: &'a Job, head: &'a Head, tell: &mut Tell<'_>) -> Result<Self> {
        job.check()?;
        if (head.hidden(), head.vocab()) != (job.shape.hidden, job.shape.vocab) {
            return Err(AdapterError::Shape("the head is of another backbone than the job".into()));
        }
        let starter = job.starter.as_deref().map(Starter::from_bytes).transpose()?;
        if starter.as_ref().is_some_and(|starter| starter.hidden() != job.shape.hidden) {
            return Err(AdapterError::Shape("the starter is of another backbone than the job".into()));
        }
        let data = Data::new(job, head, starter.as_ref(), tell)?;
        let network = newborn(job)?;
        let optimiser = AdamW::new(&network);
        let gains = vec![0.0; data.train_tokens()];
        Ok(Self {
            job,
            head,
            starter,
            data,
            network,
            optimiser,
            stage: 0,
            epoch: 0,
            batch: 0,
            best: None,
            gains,
            epochs: Vec::new(),
            gate: None,
            last: None,
            finished: false,
        })
    }

    /// One optimiser step, with what follows an epoch where one ends; `None` when all is done.
    ///
    /// # Errors
    /// When tensor arithmetic fails.
    pub fn step(&mut self) -> Result<Option<Progress>> {
        if self.finished {
            return Ok(None);
        }
        let batches = self.data.batches(self.stage, self.epoch);
        if let Some(batch) = batches.get(self.batch as usize) {
            self.train_on(batch, batches.len() as u64)?;
            self.batch += 1;
        }
        if self.batch as usize >= batches.len() {
            self.end_epoch()?;
        }
        Ok(Some(self.progress(batches.len() as u64)))
    }

    fn folds(&self) -> u64 {
        self.data.folds()
    }

    fn in_final(&self) -> bool {
        self.stage >= self.folds()
    }

    /// Epochs this stage may take: the final one takes what the folds found best.
    fn stage_epochs(&self) -> u64 {
        if !self.in_final() || self.epochs.is_empty() {
            return self.job.settings.epochs.max(1);
        }
        let mean = self.epochs.iter().sum::<u64>() as f64 / self.epochs.len() as f64;
        (mean.round() as u64).max(1)
    }

    fn end_epoch(&mut self) -> Result<()> {
        self.batch = 0;
        self.epoch += 1;
        let (cost, gains) = self.measure()?;
        let better = self.best.as_ref().is_none_or(|b| cost < b.cost);
        if better {
            let values = if self.in_final() { self.network.values()? } else { Vec::new() };
            self.best = Some(Best { cost, epoch: self.epoch, gains, values });
        }
        let since = self.epoch - self.best.as_ref().map_or(0, |b| b.epoch);
        if self.epoch >= self.stage_epochs() || since > PATIENCE {
            self.end_stage()?;
        }
        Ok(())
    }

    /// After an epoch: the cost that decides, and in a fold the gains on its held-back tokens.
    fn measure(&mut self) -> Result<(f64, Vec<f32>)> {
        if self.in_final() {
            let stop = self.job.turns.iter().filter(|t| t.part == Part::EarlyStop && t.judged());
            let stop: Vec<&Turn> = stop.collect();
            let enough = if self.epochs.is_empty() { 1 } else { ENOUGH_TO_STOP };
            if stop.iter().map(|t| t.targets.len()).sum::<usize>() < enough {
                // Too few to judge by: later is better.
                return Ok((-(self.epoch as f64), Vec::new()));
            }
            let adapter = self.adapter(&self.network.values()?)?;
            let found = evaluate(Some(&adapter), self.head, stop, self.job.settings.lambda)?;
            self.last = Some((found.nll_base, found.nll_gated));
            return Ok((found.gated_cost, Vec::new()));
        }
        let losses = self.losses(&self.data.held_back(self.stage))?;
        let weight: f64 = losses.iter().map(|l| l.weight).sum::<f64>().max(1e-9);
        let mean =
            |f: &dyn Fn(&step::Loss) -> f64| losses.iter().map(|l| l.weight * f(l)).sum::<f64>() / weight;
        let mixed =
            |l: &step::Loss| -((1.0 - JUDGED_AT) * (-l.base).exp() + JUDGED_AT * (-l.open).exp()).ln();
        self.last = Some((mean(&|l| l.base), mean(&|l| l.open)));
        Ok((mean(&mixed), losses.iter().map(|l| (l.base - l.open) as f32).collect()))
    }

    fn end_stage(&mut self) -> Result<()> {
        let best = self.best.take();
        if self.in_final() {
            if let Some(best) = best {
                self.network = SideNetwork::from_values(self.job.shape, &best.values)?;
                self.epoch = best.epoch;
            }
            if !self.job.settings.cross_fit {
                let all: Vec<usize> = (0..self.data.turns().len()).collect();
                self.gains = self.losses(&all)?.iter().map(|l| (l.base - l.open) as f32).collect();
                self.gate = self.fit_gate()?;
            }
            self.finished = true;
            return Ok(());
        }
        if let Some(best) = best {
            self.data.scatter(self.stage, &best.gains, &mut self.gains);
            self.epochs.push(best.epoch);
        }
        self.stage += 1;
        self.epoch = 0;
        self.last = None;
        self.network = newborn(self.job)?;
        self.optimiser = AdamW::new(&self.network);
        if self.in_final() {
            self.gate = self.fit_gate()?;
        }
        Ok(())
    }

    fn progress(&self, batches: u64) -> Progress {
        let stages = self.folds() + 1;
        let epochs = self.job.settings.epochs.max(1);
        let total = stages.saturating_mul(epochs).saturating_mul(batches);
        let epoch = self.stage.saturating_mul(epochs).saturating_add(self.epoch);
        let done = epoch.saturating_mul(batches).saturating_add(self.batch);
        let stage = if self.finished {
            "done".to_owned()
        } else if self.in_final() {
            format!("network, epoch {} of {}", self.epoch + 1, self.stage_epochs())
        } else {
            format!("gate fold {} of {}, epoch {}", self.stage + 1, self.folds(), self.epoch + 1)
        };
        let done = if self.finished { total } else { done.min(total) };
        Progress { done, total, stage, nll: self.last, gated: self.in_final() }
    }

    fn adapter(&self, values: &[Vec<f32>]) -> Result<Adapter> {
        Ok(Adapter::of(
            SideNetwork::from_values(self.job.shape, values)?,
            self.job.variant,
            self.gate.clone(),
            self.data.memory().cloned(),
        ))
    }

    /// The candidate, measured on held-out turns. Call it when [`Training::step`] gave `None`.
    ///
    /// # Errors
    /// When tensor arithmetic fails.
    pub fn finish(&self) -> Result<Candidate> {
        let mut adapter = self.adapter(&self.network.values()?)?;
        let turns = self.job.turns.iter().filter(|t| t.part == Part::HeldOut && t.judged());
        let Settings { lambda, budget, .. } = self.job.settings;
        let served = self.adapter(&self.network.values()?)?.within(budget as f32);
        let held_out = evaluate(Some(&served), self.head, turns, lambda)?;
        // Measured without them, served with them: a row is known by being read, not by training.
        if let Some(memory) = &mut adapter.memory {
            memory.rows = rows_of(memory.rows.projection.clone(), &self.job.turns);
        }
        Ok(Candidate { adapter, held_out, epochs: self.epoch })
    }
}

fn newborn(job: &Job) -> Result<SideNetwork> {
    match &job.parent {
        Some(bytes) => {
            let parent = Adapter::from_bytes(bytes)?;
            if parent.shape() != job.shape || !job.variant.served_by(parent.variant()) {
                return Err(AdapterError::Shape("the adapter to go on from is of another kind".into()));
            }
            Ok(parent.network)
        }
        None => SideNetwork::birth(job.shape, job.seed),
    }
}
