//! The daemon's end of the trainer child: starts it at low priority, hands it the job, and collects what it sends.

use super::frame::{self, Kind};
use super::report::{Numbers, Report};
use rustix::process::{Pid, Signal, kill_process, setpriority_process};
use std::convert::Infallible;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, watch};

/// What the child needs.
pub(super) struct Order<'a> {
    /// The binary to start, with `daemon train`.
    pub(super) binary: &'a Path,
    /// See [`super::child::head_frame`].
    pub(super) head: &'a [u8],
    pub(super) job: &'a [u8],
    /// The checkpoint of an interrupted run of the same job.
    pub(super) resume: Option<&'a [u8]>,
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
    #[error(
        "the trainer was killed before it was done ({0}); what it had is kept, `aside learn --now` goes on"
    )]
    Killed(String),
    #[error("the trainer sent a report that cannot be read: {0}")]
    Report(#[from] serde_json::Error),
}

/// Trains, and rests while an answer runs; closes `events` at its end. Dropping the future kills the child.
pub(super) async fn train(
    order: Order<'_>,
    answers: watch::Receiver<usize>,
    events: mpsc::Sender<Event>,
) -> Result<Trained, TrainError> {
    let started = Instant::now();
    let paused = AtomicU64::new(0);
    let mut child = spawn(&order)?;
    let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(TrainError::Killed("no pipe".into()));
    };
    let talk = async {
        // The pipe stays open until the end: its closing tells the child that the daemon is gone.
        let fed = feed(&mut input, &order).await;
        (collect(&mut output, events).await, fed)
    };
    let (outcome, fed) = tokio::select! {
        talked = talk => talked,
        never = rest(&child, answers, &paused) => match never {},
    };
    // Whatever it still had to say is said; one that was just stopped for an answer would never end.
    if matches!(outcome, Ok(Some(_))) {
        let _ = child.start_kill();
    }
    let outcome = outcome?;
    let status = child.wait().await?;
    match outcome {
        Some(mut trained) => {
            trained.numbers.train_seconds =
                started.elapsed().saturating_sub(Duration::from_micros(paused.load(Relaxed))).as_secs_f64();
            Ok(trained)
        }
        None => {
            fed?;
            Err(TrainError::Killed(status.to_string()))
        }
    }
}

/// Reads until the last frame; `None` when the pipe breaks before it.
async fn collect(
    output: &mut ChildStdout,
    events: mpsc::Sender<Event>,
) -> Result<Option<Trained>, TrainError> {
    let mut numbers = None;
    loop {
        match frame::receive(output).await {
            Ok((Kind::Progress, bytes)) => {
                let _ = events.send(Event::Progress(serde_json::from_slice(&bytes)?)).await;
            }
            Ok((Kind::Checkpoint, bytes)) => {
                let _ = events.send(Event::Checkpoint(bytes)).await;
            }
            Ok((Kind::Numbers, bytes)) => numbers = Some(serde_json::from_slice(&bytes)?),
            Ok((Kind::Candidate, adapter)) => {
                return Ok(numbers.take().map(|numbers| Trained { adapter, numbers }));
            }
            Ok((Kind::Failed, why)) => {
                return Err(TrainError::Failed(String::from_utf8_lossy(&why).into_owned()));
            }
            Ok(_) | Err(_) => return Ok(None),
        }
    }
}

/// Stops the child while there is an answer, so that chat has the processor; adds up for how many microseconds.
async fn rest(child: &Child, mut answers: watch::Receiver<usize>, paused: &AtomicU64) -> Infallible {
    let mut since = None::<Instant>;
    loop {
        let busy = *answers.borrow_and_update() > 0;
        if let Some(pid) = pid(child) {
            let signal = if busy { Signal::STOP } else { Signal::CONT };
            if let Err(e) = kill_process(pid, signal) {
                tracing::warn!(error = %e, "the trainer cannot be paused");
            }
        }
        since = match since {
            Some(at) if !busy => {
                paused.fetch_add(at.elapsed().as_micros() as u64, Relaxed);
                None
            }
            None if busy => Some(Instant::now()),
            unchanged => unchanged,
        };
        if answers.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| Pid::from_raw(id.cast_signed()))
}

fn spawn(order: &Order<'_>) -> std::io::Result<Child> {
    let threads = order.threads.max(1).to_string();
    let child = Command::new(order.binary)
        .args(["daemon", "train"])
        .env("CANDLE_NUM_THREADS", &threads)
        .env("RAYON_NUM_THREADS", &threads)
        .env_remove("ASIDE_PASSPHRASE_FILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(pid) = pid(&child) {
        // Chat comes first; a system that refuses this trains at normal priority.
        if let Err(e) = setpriority_process(Some(pid), 19) {
            tracing::warn!(error = %e, "the trainer keeps normal priority");
        }
        idle_disk(pid);
    }
    Ok(child)
}

/// Disk at idle priority, by the program that Linux has for it; where there is none, the trainer still only uses pipes.
fn idle_disk(pid: Pid) {
    let pid = pid.as_raw_nonzero().to_string();
    let mut ionice = Command::new("ionice");
    ionice.args(["-c", "3", "-p", &pid]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(error) = ionice.spawn() {
        tracing::info!(%error, "the trainer keeps normal disk priority");
    }
}

async fn feed(input: &mut ChildStdin, order: &Order<'_>) -> std::io::Result<()> {
    frame::send(input, Kind::Head, order.head).await?;
    frame::send(input, Kind::Job, order.job).await?;
    if let Some(checkpoint) = order.resume {
        frame::send(input, Kind::Resume, checkpoint).await?;
    }
    frame::send(input, Kind::Start, &[]).await?;
    input.flush().await
}
