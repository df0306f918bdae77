//! The seam to the room that learns: what it is given, and what the daemon asks of it.

use std::path::PathBuf;
use std::sync::Arc;

use aside_config::Settings;
use aside_daemon_api::fault::Fault;
use aside_daemon_api::proto::{EvaluateEvent, EvaluateRequest, LearnEvent, LearnRequest, LearningState};
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::cloud::Cloud;
use crate::vault::Vault;

/// Where events go; a front end that hangs up closes it.
pub type Events<T> = mpsc::Sender<Result<T, tonic::Status>>;

/// What a learner works with.
#[derive(Clone)]
pub struct Context {
    /// Lessons, states, versions.
    pub vault: Vault,
    /// Link, kit and model: see [`Cloud::connected`].
    pub cloud: Cloud,
    /// `[learning]`.
    pub settings: Settings,
    /// The binary whose `daemon train` is the trainer.
    pub executable: PathBuf,
    /// Answers that run now: the trainer pauses while there is one.
    pub answers: watch::Receiver<usize>,
    /// The daemon stops.
    pub stop: CancellationToken,
}

/// What the status shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// The phase.
    pub state: LearningState,
    /// 0 to 1 in it.
    pub fraction: f32,
}

impl Default for Progress {
    fn default() -> Self {
        Self { state: LearningState::Idle, fraction: 0.0 }
    }
}

/// The room that learns.
pub trait Learning: Send + Sync + 'static {
    /// Imports and trains; sends its events, the last of them `LearnDone`. One at a time: fault `busy`.
    fn learn(
        self: Arc<Self>,
        context: Context,
        request: LearnRequest,
        events: Events<LearnEvent>,
    ) -> BoxFuture<'static, Result<(), Fault>>;

    /// Measures a version on a file; the last event is `EvaluateDone`.
    fn evaluate(
        self: Arc<Self>,
        context: Context,
        request: EvaluateRequest,
        events: Events<EvaluateEvent>,
    ) -> BoxFuture<'static, Result<(), Fault>>;

    /// What the status shows.
    fn progress(&self) -> watch::Receiver<Progress>;
}
