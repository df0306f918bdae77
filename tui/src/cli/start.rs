//! The daemon's life as a front end sees it: found, started on demand, replaced when of another build, stopped.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use aside_config::{Paths, make_private_dir};
use aside_daemon_api::PROTOCOL;
use aside_daemon_api::client::{ConnectError, Probe, Rpc, connect, probe};
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{StatusReply, StatusRequest, StopRequest};
use tokio::process::{Child, Command};

use super::build;
use super::exit::Failure;

/// How long a daemon may take to answer after its start.
const START: Duration = Duration::from_secs(30);
/// How long it may take to close the vault and end.
const STOP: Duration = Duration::from_secs(15);
/// Bytes after which a start begins a new log.
const LARGEST_LOG: u64 = 1 << 20;

/// A daemon of this build.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// For calls.
    pub(crate) rpc: Rpc,
    /// What it said when it was found.
    pub(crate) status: Box<StatusReply>,
}

/// A daemon of this build: the one that runs, else a new one.
///
/// # Errors
/// When its folder is not private, something else holds its socket, or it ends at once.
pub(crate) async fn daemon(paths: &Paths) -> Result<Daemon, Failure> {
    paths.make_runtime_dir()?;
    let build = build::id();
    if let Some(daemon) = usable(probe(&paths.socket(), &build).await?, &build) {
        return Ok(daemon);
    }
    // Of several front ends one starts it; the others then find it.
    let _turn =
        lock(&paths.start_lock_file(), START + STOP, "another command is still starting the daemon").await?;
    let mut child: Option<Child> = None;
    let mut asked_to_stop = false;
    for pause in pauses(START) {
        match probe(&paths.socket(), &build).await? {
            Probe::Ready(rpc, status) => return Ok(Daemon { rpc, status }),
            Probe::Stale(rpc, status) if serves(&status, &build) => return Ok(Daemon { rpc, status }),
            Probe::Stale(mut rpc, status) if !asked_to_stop => {
                asked_to_stop = true;
                rpc.stop(StopRequest {}).await?;
                released(paths, status.pid).await?;
            }
            Probe::Stale(..) => return Err(stale().into()),
            Probe::Unreachable => {}
        }
        let over = match &mut child {
            Some(running) => running.try_wait()?.is_some(),
            None => true,
        };
        // Looking at the lock takes it for a moment, which our own daemon must not meet while it starts. Locked and not
        // listening: another one is about to listen, or about to end.
        if over && free(&paths.lock_file())? {
            if child.is_some() {
                return Err(ended(paths).into());
            }
            child = Some(spawn(paths)?);
        }
        tokio::time::sleep(pause).await;
    }
    let message = format!("the daemon did not answer within {} s", START.as_secs());
    Err(Fault::internal(message).repair("aside daemon run").into())
}

fn usable(found: Probe, build: &str) -> Option<Daemon> {
    match found {
        Probe::Ready(rpc, status) => Some(Daemon { rpc, status }),
        Probe::Stale(rpc, status) if serves(&status, build) => Some(Daemon { rpc, status }),
        Probe::Stale(..) | Probe::Unreachable => None,
    }
}

/// Whether a daemon of another build is used as it is: a newer one that speaks the same protocol.
fn serves(status: &StatusReply, build: &str) -> bool {
    status.protocol == PROTOCOL && build::newer(&status.build, build)
}

/// The status of whatever daemon runs, of any build.
pub(crate) async fn running(paths: &Paths) -> Result<Option<Daemon>, Failure> {
    let mut rpc = match connect(&paths.socket()).await {
        Ok(rpc) => rpc,
        Err(ConnectError::Unreachable(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let status = Box::new(rpc.status(StatusRequest {}).await?.into_inner());
    Ok(Some(Daemon { rpc, status }))
}

/// Stops the daemon and waits until it has ended; false when none ran.
pub(crate) async fn stop(paths: &Paths) -> Result<bool, Failure> {
    let Some(mut daemon) = running(paths).await? else { return Ok(false) };
    daemon.rpc.stop(StopRequest {}).await?;
    released(paths, daemon.status.pid).await?;
    Ok(true)
}

async fn released(paths: &Paths, pid: u32) -> Result<(), Failure> {
    let why = format!("the daemon (process {pid}) does not end");
    match lock(&paths.lock_file(), STOP, &why).await {
        Ok(_) => Ok(()),
        Err(Failure::Fault(fault)) => Err(fault.repair(format!("kill {pid}")).into()),
        Err(other) => Err(other),
    }
}

fn spawn(paths: &Paths) -> Result<Child, Failure> {
    make_private_dir(&paths.state_dir)?;
    rotate(&paths.log_file())?;
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(paths.log_file())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["daemon", "run", "--detach"]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // It must not keep a folder of the person's busy; a relative home would then mean another one.
    if let Some(home) = std::env::var_os("ASIDE_HOME").filter(|home| !home.is_empty()) {
        command.env("ASIDE_HOME", std::path::absolute(home)?);
    }
    if let Some(file) = std::env::var_os("ASIDE_PASSPHRASE_FILE").filter(|file| !file.is_empty()) {
        command.env("ASIDE_PASSPHRASE_FILE", std::path::absolute(file)?);
    }
    Ok(command.current_dir("/").spawn()?)
}

/// Waits for a lock and holds it; its file closes it.
async fn lock(path: &Path, patience: Duration, why: &str) -> Result<File, Failure> {
    for pause in pauses(patience) {
        let file = lock_file(path)?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(pause).await,
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    Err(Fault::new(codes::BUSY, why).into())
}

fn free(path: &Path) -> Result<bool, Failure> {
    match lock_file(path)?.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn lock_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

/// Pauses between two looks: 5 ms, doubling up to 100 ms, until `total` is spent.
fn pauses(total: Duration) -> impl Iterator<Item = Duration> {
    let longest = Duration::from_millis(100);
    let mut left = total;
    let mut pause = Duration::from_millis(5);
    std::iter::from_fn(move || {
        let this = pause.min(left);
        left = left.checked_sub(this).filter(|_| !this.is_zero())?;
        pause = (pause * 2).min(longest);
        Some(this)
    })
}

fn stale() -> Fault {
    Fault::new(codes::BUSY, "another build of aside keeps starting its own daemon")
        .repair("aside daemon stop")
}

fn ended(paths: &Paths) -> Fault {
    let log = std::fs::read_to_string(paths.log_file()).unwrap_or_default();
    let message =
        format!("the daemon ended at once: {} (log: {})", last_words(&log), paths.log_file().display());
    Fault::internal(message).repair("aside daemon run")
}

/// The last error of a log, else its last line.
fn last_words(log: &str) -> &str {
    let error = log.lines().rev().find_map(|line| line.strip_prefix("error: "));
    let line = || log.lines().rev().find(|line| !line.trim().is_empty());
    error.or_else(line).unwrap_or("it wrote nothing")
}

/// Puts a log that has grown large aside, over the one put aside before.
fn rotate(log: &Path) -> std::io::Result<()> {
    match std::fs::metadata(log) {
        Ok(file) if file.len() > LARGEST_LOG => std::fs::rename(log, log.with_extension("log.1")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_add_up() {
        let all: Vec<Duration> = pauses(Duration::from_secs(1)).collect();
        assert_eq!(all.iter().sum::<Duration>(), Duration::from_secs(1));
        assert_eq!(all[..3], [5, 10, 20].map(Duration::from_millis));
        assert!(all.iter().all(|pause| *pause <= Duration::from_millis(100)));
        assert_eq!(pauses(Duration::ZERO).count(), 0);
    }

    #[tokio::test]
    async fn a_lock_is_held_until_its_file_closes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock(&path, Duration::from_secs(1), "held").await.unwrap();
        assert!(!free(&path).unwrap());
        let refused = lock(&path, Duration::from_millis(20), "held by a test").await.unwrap_err();
        assert!(matches!(refused, Failure::Fault(fault) if fault.message == "held by a test"));
        drop(held);
        // A process that another test starts at this moment holds it until it is another program.
        lock(&path, Duration::from_secs(10), "held for ever").await.unwrap();
    }

    #[test]
    fn a_log_tells_its_last_error_and_does_not_grow_for_ever() {
        assert_eq!(last_words("INFO up\nerror: no room\nrepair: make some\n\n"), "no room");
        assert_eq!((last_words("INFO up\n\n"), last_words("")), ("INFO up", "it wrote nothing"));
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("daemon.log");
        rotate(&log).unwrap();
        std::fs::write(&log, "short").unwrap();
        rotate(&log).unwrap();
        assert!(log.exists());
        std::fs::write(&log, vec![b'x'; (1 << 20) + 1]).unwrap();
        rotate(&log).unwrap();
        assert!(!log.exists() && dir.path().join("daemon.log.1").exists());
    }

    #[tokio::test]
    async fn no_daemon_is_neither_running_nor_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::under(dir.path());
        assert!(running(&paths).await.unwrap().is_none());
        assert!(!stop(&paths).await.unwrap());
    }
}
