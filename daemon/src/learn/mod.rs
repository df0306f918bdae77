//! Learning: takes lessons in, fetches their states from the cloud, has the trainer child make a new version, and
//! measures versions on files (method, sections 5 and 7).

mod begin;
mod child;
mod encode;
mod fetch;
mod forget;
mod frame;
pub mod generic;
mod guard;
mod import;
mod intake;
mod itself;
mod job;
mod measure;
mod memory;
mod modest;
mod prepare;
mod promote;
mod replay;
mod report;
mod run;
mod shown;
mod sink;
mod trainer;
mod window;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aside_adapter::Bar;
use aside_config::Settings;
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{
    EvaluateEvent, EvaluateRequest, ForgetRequest, LearnDone, LearnEvent, LearnRequest, LearningState,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::cloud::Cloud;
use crate::vault::Vault;

pub use child::train_child;
pub(crate) use forget::source;
pub(crate) use memory::catch_up;
pub(crate) use shown::{adapter, base, decision};
pub use window::{Window, windows};

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

/// How long a request waits for what is over soon.
const SOON: Duration = Duration::from_secs(5);

/// Learns one thing at a time.
#[derive(Default)]
pub struct Learner {
    busy: tokio::sync::Mutex<()>,
    progress: watch::Sender<Progress>,
}

impl Learner {
    /// Imports and trains; the last event is `LearnDone`. A front end that hangs up stops it; what was fetched and the
    /// last checkpoint are kept.
    ///
    /// # Errors
    /// Fault `busy` while another one learns, `bad-request` for files without lessons, `cancelled`, and those of vault
    /// and cloud.
    pub async fn learn(
        self: Arc<Self>,
        context: Context,
        request: LearnRequest,
        events: Events<LearnEvent>,
    ) -> Result<(), Fault> {
        self.heard(&context, &events, async |sink| run::learn(&context, request, Bar::Asked, sink).await)
            .await
    }

    /// Forgets lessons and learns anew from what remains; the last event is `LearnDone`.
    ///
    /// # Errors
    /// As [`Self::learn`]; `not-found` when nothing was learned from it. What was forgotten stays so.
    pub async fn forget(
        self: Arc<Self>,
        context: Context,
        request: ForgetRequest,
        events: Events<LearnEvent>,
    ) -> Result<(), Fault> {
        self.heard(&context, &events, async |sink| forget::forget(&context, request, sink).await).await
    }

    /// Runs `work` for a front end, alone, until it ends or nobody listens any more.
    async fn heard(
        &self,
        context: &Context,
        events: &Events<LearnEvent>,
        work: impl AsyncFnOnce(&sink::Sink<'_>) -> Result<LearnDone, Fault>,
    ) -> Result<(), Fault> {
        // Taking in a chat is over soon; another learning is not.
        let Ok(_one) = tokio::time::timeout(SOON, self.busy.lock()).await else {
            return Err(Fault::new(codes::BUSY, "the adapter learns already").repair("aside learn --status"));
        };
        let _idle = Idle(&self.progress);
        let sink = sink::Sink::new(events, &self.progress);
        tokio::select! {
            done = work(&sink) => sink.done(done?).await,
            () = events.closed() => {}
            () = context.stop.cancelled() => {
                return Err(Fault::new(codes::CANCELLED, "the daemon stops").repair("aside learn --now"));
            }
        }
        Ok(())
    }

    /// Takes in what was chatted and fetches its states, so that the memory knows it; trains nothing. Whether what was
    /// said shows that the version in use does harm, and it was rolled back.
    ///
    /// # Errors
    /// As [`Self::learn`].
    pub async fn keep_up(&self, context: &Context) -> Result<bool, Fault> {
        let Ok(_one) = self.busy.try_lock() else { return Ok(false) };
        let _idle = Idle(&self.progress);
        itself::keep_up(context, &self.progress).await
    }

    /// Learns by itself, if there is enough that is new; the candidate is used only when it is better beyond doubt.
    /// Whether there is a new version. Dropping the future stops it; the last checkpoint is kept.
    ///
    /// # Errors
    /// As [`Self::learn`].
    pub async fn learn_by_itself(&self, context: &Context) -> Result<bool, Fault> {
        let Ok(_one) = self.busy.try_lock() else { return Ok(false) };
        let _idle = Idle(&self.progress);
        itself::learn(context, &self.progress).await
    }

    /// Measures a version on a file; the last event is `EvaluateDone`. Nothing of the file is kept.
    ///
    /// # Errors
    /// As [`Self::learn`], and `not-found` for the version.
    pub async fn evaluate(
        self: Arc<Self>,
        context: Context,
        request: EvaluateRequest,
        events: Events<EvaluateEvent>,
    ) -> Result<(), Fault> {
        tokio::select! {
            done = measure::evaluate(&context, request, &events) => done,
            () = events.closed() => Ok(()),
            () = context.stop.cancelled() => Err(Fault::new(codes::CANCELLED, "the daemon stops")),
        }
    }

    /// What the status shows.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }
}

/// Sets the status back however learning ends.
struct Idle<'a>(&'a watch::Sender<Progress>);

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.send_replace(Progress::default());
    }
}
