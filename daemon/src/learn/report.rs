//! What the trainer reports, as JSON between the processes and in the vault.

use aside_adapter::{Candidate, Evaluation, Progress};
use serde::{Deserialize, Serialize};

/// How far a training is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Steps done and in all.
    pub done: u64,
    /// See `done`.
    pub total: u64,
    /// What it is doing, in words.
    pub detail: String,
    /// Nats per token on early-stop turns, once measured: base and gated.
    pub nll: Option<(f64, f64)>,
}

/// What was measured of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// On held-out turns; absent when there were none.
    pub held_out: Option<Measured>,
    /// Epochs of the final network.
    pub epochs: u32,
    /// Parameters of side network and gate.
    pub parameters: u64,
    /// Threshold of the gate and its table threshold -> open rate.
    pub threshold: f64,
    /// See `threshold`.
    pub table: Vec<(f64, f64)>,
}

/// [`Evaluation`] as it is stored and sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "names of method, section 7; see aside_adapter::Evaluation")]
pub struct Measured {
    pub tokens: u64,
    pub nll_base: f64,
    pub nll_open: f64,
    pub nll_gated: f64,
    pub gated_cost: f64,
    pub open_rate: f64,
    pub diff_rate: f64,
    pub diff_pick_rate: f64,
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
