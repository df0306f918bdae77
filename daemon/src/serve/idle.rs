//! Learns while nobody needs the machine: reads the system now and then, asks the policy, starts and stops the learner.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aside_daemon_api::fault::Fault;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::hub::Hub;
use crate::faults::blocking;
use crate::idle::{Limits, Logind, Policy, Readings, Snapshot, Verdict, read};
use crate::learn::Context;
use crate::vault::Vault;

/// Between two readings at most.
const EVERY: Duration = Duration::from_secs(5);
/// Names a folder whose `proc`, `sys` and `dev` are read in place of the system's: how tests make a machine busy.
const SYSTEM_ROOT: &str = "ASIDE_SYSTEM_ROOT";
/// A chat pauses when it was quiet for this long; then the memory takes it in.
const PAUSE: Duration = Duration::from_secs(30);
/// Name of the person's switch in the vault.
const PAUSED: &str = "learning.paused";

/// What runs, one at a time.
#[derive(Default)]
struct Work {
    running: Option<Running>,
    /// `changes` when learning last came to its end: nothing is new until they move.
    seen: Option<u64>,
    /// The same of taking in.
    kept: Option<u64>,
}

struct Running {
    /// Stops it.
    stop: CancellationToken,
    /// It learns; else it takes in.
    learns: bool,
    /// `changes` at its start.
    changes: u64,
    /// Whether it came to its end.
    ended: JoinHandle<bool>,
}

impl Work {
    /// Notes what has ended. What failed or was stopped is tried again.
    async fn settle(&mut self) {
        let Some(Running { learns, changes, ended, .. }) = self.running.take_if(|r| r.ended.is_finished())
        else {
            return;
        };
        if ended.await.unwrap_or(false) {
            *(if learns { &mut self.seen } else { &mut self.kept }) = Some(changes);
        }
    }

    fn learns(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.learns)
    }
}

/// Until the daemon stops.
pub(super) async fn watch(hub: Arc<Hub>) {
    let learning = &hub.settings().learning;
    let idle = Duration::from_secs(learning.idle_minutes.saturating_mul(60));
    let settle = Duration::from_secs(learning.settle_seconds);
    let mut policy = Policy::new(Limits { idle, settle, ..Limits::default() });
    let (started, mut work, logind) = (Instant::now(), Work::default(), Arc::new(Logind::default()));
    while hub.stop.run_until_cancelled(tokio::time::sleep(EVERY.min(settle))).await.is_some() {
        if !hub.settings().learning.idle {
            tell(&hub, "learning.idle is off in the settings");
            return;
        }
        let Ok(context) = hub.context() else {
            tell(&hub, "the vault is locked");
            continue;
        };
        work.settle().await;
        keep_up(&hub, &context, &mut work);
        let snapshot = snapshot(&hub, &context, &logind, work.learns()).await;
        match policy.decide(&snapshot, started.elapsed()) {
            Verdict::Learn => {
                tell(&hub, "");
                learn(&hub, context, &mut work);
            }
            Verdict::Wait(reason) => {
                tell(&hub, &reason.to_string());
                if let Some(running) = work.running.as_ref().filter(|r| r.learns && !r.stop.is_cancelled()) {
                    tracing::info!(%reason, "learning stops; what it has is kept");
                    running.stop.cancel();
                }
            }
        }
    }
}

fn tell(hub: &Hub, why: &str) {
    hub.why.send_if_modified(|told| {
        let other = told != why;
        why.clone_into(told);
        other
    });
}

/// Takes a chat that has paused into the memory.
fn keep_up(hub: &Arc<Hub>, context: &Context, work: &mut Work) {
    let paused = hub.unused_for().is_some_and(|unused| unused >= PAUSE);
    if !paused || work.running.is_some() || work.kept == Some(*hub.changes.borrow()) {
        return;
    }
    let (learner, context) = (Arc::clone(&hub.learner), context.clone());
    start(hub, work, false, async move { learner.keep_up(&context).await });
}

/// Starts the learner if there may be something new.
fn learn(hub: &Arc<Hub>, context: Context, work: &mut Work) {
    if work.running.is_some() || work.seen == Some(*hub.changes.borrow()) {
        return;
    }
    let learner = Arc::clone(&hub.learner);
    start(hub, work, true, async move { learner.learn_by_itself(&context).await });
}

/// Runs `job`, which says whether another version is in use, until it ends or is stopped.
fn start(
    hub: &Arc<Hub>,
    work: &mut Work,
    learns: bool,
    job: impl Future<Output = Result<bool, Fault>> + Send + 'static,
) {
    let stop = hub.stop.child_token();
    let (changes, learning) = (*hub.changes.borrow(), hub.learning(stop.clone()));
    let (shared, stopped) = (Arc::clone(hub), stop.clone());
    let ended = hub.spawn(async move {
        let _learning = learning;
        match stopped.run_until_cancelled(job).await {
            Some(Ok(made)) => {
                if made {
                    shared.changed();
                }
                true
            }
            Some(Err(fault)) => {
                tracing::info!(%fault, "learning by itself is tried again later");
                false
            }
            None => false,
        }
    });
    work.running = Some(Running { stop, learns, changes, ended });
}

async fn snapshot(hub: &Hub, context: &Context, logind: &Arc<Logind>, learning: bool) -> Snapshot {
    let display = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    let (logind, now) = (Arc::clone(logind), SystemTime::now());
    let readings = tokio::task::spawn_blocking(move || match std::env::var_os(SYSTEM_ROOT) {
        // A machine of a test's making has no desktop.
        Some(root) => read(Path::new(&root), false, || None, now),
        None => read(Path::new("/"), display, || logind.away(now), now),
    });
    let readings = readings.await.ok();
    let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
    let own_load = if learning { context.settings.learning.threads as f64 / cores } else { 0.0 };
    let vault = context.vault.clone();
    let paused = blocking(move || paused(&vault)).await;
    let Readings { user, load_per_core, memory_pressure, power } = readings.unwrap_or(Readings::NONE);
    Snapshot {
        own: hub.unused_for(),
        user,
        load_per_core: load_per_core.map(|load| (load - own_load).max(0.0)),
        memory_pressure,
        power,
        paused: paused.unwrap_or(true),
    }
}

/// Sets the person's switch.
pub(super) async fn pause(hub: &Hub, paused: bool) -> Result<(), Fault> {
    let vault = hub.open_vault()?;
    blocking(move || vault.put_meta(PAUSED, &[u8::from(paused)])).await?;
    hub.changed();
    Ok(())
}

/// The person's switch.
pub(super) fn paused(vault: &Vault) -> crate::vault::Result<bool> {
    Ok(vault.meta(PAUSED)?.is_some_and(|value| value == [1]))
}
