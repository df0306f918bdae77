//! `aside daemon train`: the trainer. A job comes in by standard input, progress and a candidate go out by standard
//! output. It opens no vault, no socket and no file, holds no key, and ends when the daemon's pipe closes.

use super::frame::{self, Kind};
use super::modest::step_back;
use super::report::{Numbers, Report};
use aside_adapter::{Head, Job, Progress, Training};
use std::io::{self, Read};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How often the exact state goes to the daemon: what a kill can cost.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
/// Progress reports a second at most.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// What arrives before the start.
struct Work {
    head: Vec<u8>,
    job: Vec<u8>,
    resume: Option<Vec<u8>>,
}

/// Trains until done and gives the exit code; the process ends early when standard input closes.
#[must_use]
pub fn train_child() -> ExitCode {
    // Also while it is stopped for an answer: nobody else would ever end it.
    let parent = rustix::process::getppid();
    let bound = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    if bound.is_err() || rustix::process::getppid() != parent {
        return ExitCode::FAILURE;
    }
    step_back();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        let work = receive(&mut input);
        let _ = sender.send(work);
        // Nothing more comes: the end of the stream is the end of the daemon, or its wish to stop us.
        let _ = input.read(&mut [0]);
        std::process::exit(1);
    });
    let mut output = io::stdout().lock();
    let trained = match receiver.recv() {
        Ok(Ok(work)) => train(work, &mut output),
        _ => return ExitCode::FAILURE,
    };
    match trained {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = frame::write(&mut output, Kind::Failed, why.as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn receive(input: &mut impl Read) -> io::Result<Work> {
    let mut work = Work { head: Vec::new(), job: Vec::new(), resume: None };
    loop {
        match frame::read(input)? {
            (Kind::Head, bytes) => work.head = bytes,
            (Kind::Job, bytes) => work.job = bytes,
            (Kind::Resume, bytes) => work.resume = Some(bytes),
            (Kind::Start, _) => return Ok(work),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn train(work: Work, output: &mut impl io::Write) -> Result<(), String> {
    // What was read is there once, not twice.
    let Work { head: bytes, job, resume } = work;
    let head = head(&bytes)?;
    drop(bytes);
    let job = {
        let bytes = job;
        Job::from_bytes(&bytes).map_err(|e| e.to_string())?
    };
    let send = |output: &mut dyn io::Write, kind, bytes: &[u8]| {
        frame::write(&mut { output }, kind, bytes).map_err(|e| format!("the daemon's pipe: {e}"))
    };
    let mut reported = None::<Instant>;
    let mut report = |output: &mut dyn io::Write, progress: Progress| -> Result<(), String> {
        if reported.is_some_and(|at| at.elapsed() < REPORT_EVERY) {
            return Ok(());
        }
        reported = Some(Instant::now());
        let report = serde_json::to_vec(&Report::from(progress)).map_err(|e| e.to_string())?;
        send(output, Kind::Progress, &report)
    };
    let mut training = Training::prepare(&job, &head, &mut |progress| {
        // A pipe that is gone shows again at the next write.
        let _ = report(output, progress);
    })
    .map_err(|e| e.to_string())?;
    if let Some(checkpoint) = &resume {
        training = training.restore(checkpoint).map_err(|e| e.to_string())?;
    }
    let mut saved = Instant::now();
    while let Some(progress) = training.step().map_err(|e| e.to_string())? {
        report(output, progress)?;
        if saved.elapsed() >= CHECKPOINT_EVERY {
            saved = Instant::now();
            send(output, Kind::Checkpoint, &training.checkpoint().map_err(|e| e.to_string())?)?;
        }
    }
    let candidate = training.finish().map_err(|e| e.to_string())?;
    let numbers = serde_json::to_vec(&Numbers::from(&candidate)).map_err(|e| e.to_string())?;
    send(output, Kind::Numbers, &numbers)?;
    send(output, Kind::Candidate, &candidate.adapter.to_bytes().map_err(|e| e.to_string())?)
}

/// The frame of the head: vocabulary and hidden size as u32, then Q8_0 rows.
pub(super) fn head_frame(vocab: usize, hidden: usize, rows: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + rows.len());
    bytes.extend_from_slice(&(vocab as u32).to_le_bytes());
    bytes.extend_from_slice(&(hidden as u32).to_le_bytes());
    bytes.extend_from_slice(rows);
    bytes
}

fn head(bytes: &[u8]) -> Result<Head, String> {
    let ([v0, v1, v2, v3, h0, h1, h2, h3], rows) =
        bytes.split_first_chunk::<8>().ok_or("the job came without a head")?;
    let vocab = u32::from_le_bytes([*v0, *v1, *v2, *v3]) as usize;
    let hidden = u32::from_le_bytes([*h0, *h1, *h2, *h3]) as usize;
    Head::from_q8_0(rows, vocab, hidden).map_err(|e| e.to_string())
}
