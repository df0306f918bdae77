//! What the trainer reports, as JSON between the processes and in the vault.

use aside_adapter::{Adapter, Candidate, Comparison, Evaluation, Progress};
use serde::{Deserialize, Serialize};

/// How far a training is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    /// Steps done and in all.
    pub(super) done: u64,
    /// See `done`.
    pub(super) total: u64,
    /// What it is doing, in words.
    pub(super) detail: String,
    /// Nats per token on turns the network was not fitted on, once measured: of base and of the adapter.
    pub(super) nll: Option<(f64, f64)>,
    /// With the gate's choice; else every position is open.
    pub(super) gated: bool,
}

impl From<Progress> for Report {
    fn from(p: Progress) -> Self {
        Self { done: p.done, total: p.total, detail: p.stage, nll: p.nll, gated: p.gated }
    }
}

/// What was measured of a version; what an older build did not measure is unknown.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Numbers {
    /// On held-out turns; absent when there were none.
    pub(super) held_out: Option<Measured>,
    /// Epochs of the final network.
    pub(super) epochs: u32,
    /// Parameters of side network and gate.
    pub(super) parameters: u64,
    /// Rows of the personal memory.
    pub(super) memory_rows: u64,
    /// Threshold of the gate and its table threshold -> open rate.
    pub(super) threshold: f64,
    /// See `threshold`.
    pub(super) table: Vec<(f64, f64)>,
    /// Seconds of the trainer since it was last started, pauses for answers left out.
    pub(super) train_seconds: f64,
}

impl From<&Candidate> for Numbers {
    fn from(candidate: &Candidate) -> Self {
        let epochs = u32::try_from(candidate.epochs).unwrap_or(u32::MAX);
        Self { epochs, ..Self::of(&candidate.adapter, &candidate.held_out) }
    }
}

impl Numbers {
    /// Of an adapter that was not trained here.
    pub(super) fn of(adapter: &Adapter, held_out: &Evaluation) -> Self {
        let gate = adapter.gate();
        let table = gate.map(|g| g.table.iter().map(|(t, r)| (f64::from(*t), f64::from(*r))).collect());
        Self {
            held_out: Some(held_out).filter(|e| e.tokens > 0).map(Measured::from),
            epochs: 0,
            parameters: adapter.parameters(),
            memory_rows: adapter.memory_rows() as u64,
            threshold: gate.map_or(0.0, |g| f64::from(g.threshold)),
            table: table.unwrap_or_default(),
            train_seconds: 0.0,
        }
    }
}

/// A comparison as it is stored; see [`Comparison`].
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Compared {
    pub(super) turns: u64,
    pub(super) recent_tokens: u64,
    pub(super) difference: f64,
    pub(super) upper: f64,
    pub(super) earlier: f64,
    pub(super) generic: f64,
}

impl From<&Comparison> for Compared {
    fn from(c: &Comparison) -> Self {
        Self {
            turns: c.turns as u64,
            recent_tokens: c.recent_tokens as u64,
            difference: c.difference,
            upper: c.upper,
            earlier: c.earlier,
            generic: c.generic,
        }
    }
}

/// [`Evaluation`] as it is stored and sent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Measured {
    tokens: u64,
    nll_base: f64,
    nll_open: f64,
    nll_gated: f64,
    gated_cost: f64,
    open_rate: f64,
    diff_rate: f64,
    diff_pick_rate: f64,
}

impl From<&Evaluation> for Measured {
    fn from(e: &Evaluation) -> Self {
        Self {
            tokens: e.tokens,
            nll_base: e.nll_base,
            nll_open: e.nll_open,
            nll_gated: e.nll_gated,
            gated_cost: e.gated_cost,
            open_rate: e.open_rate,
            diff_rate: e.diff_rate,
            diff_pick_rate: e.diff_pick_rate,
        }
    }
}

impl From<Measured> for aside_daemon_api::proto::Evaluation {
    fn from(m: Measured) -> Self {
        Self {
            tokens: m.tokens,
            nll_base: m.nll_base,
            nll_open: m.nll_open,
            nll_gated: m.nll_gated,
            gated_cost: m.gated_cost,
            open_rate: m.open_rate,
            diff_rate: m.diff_rate,
            diff_pick_rate: m.diff_pick_rate,
        }
    }
}
