//! The daemon's end of the trainer child: starts it at low priority, hands it the job, and collects what it sends.

use super::frame::{self, Kind};
use super::report::{Numbers, Report};
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

/// What the child needs.
pub(super) struct Order {
    /// The binary to start, with `daemon train`.
    pub(super) binary: PathBuf,
    /// See [`super::child::head_frame`].
    pub(super) head: Vec<u8>,
    pub(super) job: Vec<u8>,
    /// The checkpoint of an interrupted run of the same job.
    pub(super) resume: Option<Vec<u8>>,
    /// Threads of the child.
    pub(super) threads: usize,
}

/// What happens meanwhile.
pub(super) enum Event {
    Progress(Report),
    Checkpoint(Vec<u8>),
}

/// What comes out.
pub(super) struct Trained {
    pub(super) adapter: Vec<u8>,
    pub(super) numbers: Numbers,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum TrainError {
    #[error("the trainer could not be started or its pipe broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("the trainer failed: {0}")]
    Failed(String),
    #[error("the trainer was killed before it was done ({0}); what it had is kept, `aside learn --now` goes on")]
    Killed(String),
    #[error("the trainer sent a report that cannot be read: {0}")]
    Report(#[from] serde_json::Error),
}

/// Trains. Dropping the future kills the child.
pub(super) async fn train(order: Order, mut on: impl AsyncFnMut(Event)) -> Result<Trained, TrainError> {
    let mut child = spawn(&order)?;
    let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(TrainError::Killed("no pipe".into()));
    };
    // The pipe stays open until the end: its closing tells the child that the daemon is gone.
    let fed = feed(&mut input, &order).await;
    let mut numbers = None;
    let outcome = loop {
        match frame::receive(&mut output).await {
            Ok((Kind::Progress, bytes)) => on(Event::Progress(serde_json::from_slice(&bytes)?)).await,
            Ok((Kind::Checkpoint, bytes)) => on(Event::Checkpoint(bytes)).await,
            Ok((Kind::Numbers, bytes)) => numbers = Some(serde_json::from_slice(&bytes)?),
            Ok((Kind::Candidate, adapter)) => break numbers.take().map(|numbers| Trained { adapter, numbers }),
            Ok((Kind::Failed, why)) => {
                return Err(TrainError::Failed(String::from_utf8_lossy(&why).into_owned()));
            }
            Ok(_) | Err(_) => break None,
        }
    };
    let status = child.wait().await?;
    match outcome {
        Some(trained) => Ok(trained),
        None => {
            fed?;
            Err(TrainError::Killed(status.to_string()))
        }
    }
}

fn spawn(order: &Order) -> std::io::Result<Child> {
    let threads = order.threads.max(1).to_string();
    let child = Command::new(&order.binary)
        .args(["daemon", "train"])
        .env("CANDLE_NUM_THREADS", &threads)
        .env("RAYON_NUM_THREADS", &threads)
        .env_remove("ASIDE_PASSPHRASE_FILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(pid) = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
        // Chat comes first; a system that refuses this trains at normal priority.
        if let Err(e) = rustix::process::setpriority_process(Some(pid), 19) {
            tracing::warn!(error = %e, "the trainer keeps normal priority");
        }
    }
    Ok(child)
}

async fn feed(input: &mut ChildStdin, order: &Order) -> std::io::Result<()> {
    frame::send(input, Kind::Head, &order.head).await?;
    frame::send(input, Kind::Job, &order.job).await?;
    if let Some(checkpoint) = &order.resume {
        frame::send(input, Kind::Resume, checkpoint).await?;
    }
    frame::send(input, Kind::Start, &[]).await?;
    input.flush().await
}
