//! Learns while nobody needs the machine: reads the system now and then, asks the policy, starts and stops the learner.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aside_daemon_api::fault::Fault;
use tokio_util::sync::CancellationToken;

use super::hub::Hub;
use crate::faults::blocking;
use crate::idle::{Limits, Policy, Readings, Snapshot, Verdict, read};
use crate::learn::Context;
use crate::vault::Vault;

/// Between two readings.
const EVERY: Duration = Duration::from_secs(5);
/// A chat pauses when it was quiet for this long; then the memory takes it in.
const PAUSE: Duration = Duration::from_secs(30);
/// Name of the person's switch in the vault.
const PAUSED: &str = "learning.paused";

/// What runs.
#[derive(Default)]
struct Work {
    /// Stops it.
    stop: Option<CancellationToken>,
    /// `changes` when it last came to its end: nothing is new until they move.
    seen: Option<u64>,
    /// The same of taking in.
    kept: Option<u64>,
}

/// Until the daemon stops.
pub(super) async fn watch(hub: Arc<Hub>) {
    let minutes = hub.settings().learning.idle_minutes;
    let idle = Duration::from_secs(minutes.saturating_mul(60));
    let mut policy = Policy::new(Limits { idle, ..Limits::default() });
    let (started, mut work) = (Instant::now(), Work::default());
    while hub.stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        if !hub.settings().learning.idle {
            tell(&hub, "learning.idle is off in the settings");
            return;
        }
        let Ok(context) = hub.context() else {
            tell(&hub, "the vault is locked");
            continue;
        };
        work.stop.take_if(|_| !hub.learns());
        keep_up(&hub, &context, &mut work);
        let snapshot = snapshot(&hub, &context, work.stop.is_some()).await;
        match policy.decide(&snapshot, started.elapsed()) {
            Verdict::Learn => {
                tell(&hub, "");
                learn(&hub, context, &mut work);
            }
            Verdict::Wait(reason) => {
                tell(&hub, &reason.to_string());
                if let Some(stop) = work.stop.take() {
                    tracing::info!(%reason, "learning stops; what it has is kept");
                    stop.cancel();
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
    let changes = *hub.changes.borrow();
    let paused = hub.unused_for().is_some_and(|unused| unused >= PAUSE);
    if !paused || work.kept == Some(changes) || work.stop.is_some() {
        return;
    }
    work.kept = Some(changes);
    let (hub, context) = (Arc::clone(hub), context.clone());
    let stop = hub.stop.clone();
    tokio::spawn(async move {
        if let Some(Err(fault)) = stop.run_until_cancelled(hub.learner.keep_up(&context)).await {
            tracing::info!(%fault, "what was chatted is taken in later");
        }
    });
}

/// Starts the learner if there may be something new.
fn learn(hub: &Arc<Hub>, context: Context, work: &mut Work) {
    let changes = *hub.changes.borrow();
    if work.stop.is_some() || work.seen == Some(changes) {
        return;
    }
    work.seen = Some(changes);
    let stop = hub.stop.child_token();
    work.stop = Some(stop.clone());
    let learning = hub.learning(stop.clone());
    let hub = Arc::clone(hub);
    hub.clone().spawn(async move {
        let _learning = learning;
        match stop.run_until_cancelled(hub.learner.learn_by_itself(&context)).await {
            Some(Ok(true)) => hub.changed(),
            Some(Ok(false)) => {}
            Some(Err(fault)) => tracing::warn!(%fault, "learning by itself failed"),
            None => hub.changed(),
        }
    });
}

async fn snapshot(hub: &Hub, context: &Context, learning: bool) -> Snapshot {
    let display = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    let readings = tokio::task::spawn_blocking(move || read(Path::new("/"), display, SystemTime::now()));
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
