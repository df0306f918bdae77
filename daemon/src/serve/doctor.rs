//! `aside doctor`: what is wrong, and the command that repairs it. Looks only; changes nothing.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use aside_daemon_api::proto::{Check, LinkState};

use super::hub::{Hub, VaultView};
use crate::faults::blocking;
use crate::kit::{Kit, cache};

/// Below this much free space a vault may fail to grow.
const ROOM: u64 = 200 << 20;
/// How long the cloud may take to come up while the doctor looks.
const PATIENCE: Duration = Duration::from_secs(5);

/// All checks, in the order a person should read them.
pub(super) async fn checks(hub: &Hub) -> Vec<Check> {
    let mut out = vec![vault(hub)];
    out.extend(slots(hub));
    out.push(cloud(hub).await);
    out.push(kit(hub).await);
    out.extend(adapter(hub).await);
    out.push(space(&hub.paths().data_dir));
    out.push(permissions(hub));
    out
}

fn check(name: &str, state: &str, detail: impl Into<String>, repair: &str) -> Check {
    Check { name: name.into(), state: state.into(), detail: detail.into(), repair: repair.into() }
}

fn vault(hub: &Hub) -> Check {
    match &*hub.vault.borrow() {
        VaultView::Open(vault) => check("vault", "ok", format!("open, {}", vault.path().display()), ""),
        VaultView::Absent => {
            check("vault", "failed", "there is none yet", "aside init --key keyring|passphrase|file")
        }
        VaultView::Locked(why) => {
            let why = if why.is_empty() { "locked" } else { why };
            check("vault", "warning", why, "ASIDE_PASSPHRASE_FILE=FILE aside daemon restart")
        }
        VaultView::Damaged(why) => {
            check("vault", "failed", why, "put the vault and its slots back from a copy")
        }
    }
}

fn slots(hub: &Hub) -> Vec<Check> {
    let kinds = hub.keys().kinds();
    if kinds.is_empty() && hub.keys().exists() {
        return vec![check(
            "key",
            "failed",
            "the key slots cannot be read",
            "put slots.json back from a copy",
        )];
    }
    kinds.iter().map(|kind| check("key", "ok", format!("{kind}: {}", kind.note()), "")).collect()
}

async fn cloud(hub: &Hub) -> Check {
    if hub.open_vault().is_err() {
        return check("cloud", "warning", "not asked while the vault is closed", "");
    }
    let mut view = hub.cloud.view();
    let settled = view.wait_for(|view| view.state != LinkState::Connecting);
    let _ = tokio::time::timeout(PATIENCE, settled).await;
    let view = view.borrow().clone();
    let place = &view.place;
    match view.state {
        LinkState::Up => {
            let name = view.model.as_ref().map_or("", |model| model.name.as_str());
            check("cloud", "ok", format!("{place}, {name}, round trip {} us", view.rtt_us), "")
        }
        LinkState::Connecting => {
            check("cloud", "warning", format!("{place} does not answer yet"), "aside doctor")
        }
        LinkState::Refused => {
            check("cloud", "failed", format!("{place} refuses: {}", view.detail), "aside connect URI")
        }
        LinkState::Away => {
            let repair = if place == "local" { "aside cloud serve" } else { "aside connect local" };
            check("cloud", "failed", format!("{place} is away: {}", view.detail), repair)
        }
    }
}

async fn kit(hub: &Hub) -> Check {
    let Some(model) = hub.cloud.view().borrow().model.clone() else {
        return check("kit", "warning", "which one is needed is known once the cloud was reached", "");
    };
    let file = cache::path(&hub.paths().kits_dir(), &model.kit);
    let verified = tokio::task::spawn_blocking(move || {
        let bytes = std::fs::read(&file).map_err(|error| error.to_string())?;
        Kit::open(bytes.into(), &model.kit).map_err(|error| error.to_string())
    });
    match verified.await {
        Ok(Ok(kit)) => check("kit", "ok", format!("{} verifies", kit.name()), ""),
        Ok(Err(why)) => {
            check("kit", "warning", format!("{why}; the next answer fetches it again"), "aside ask hello")
        }
        Err(_) => check("kit", "failed", "reading it failed unexpectedly", "aside daemon restart"),
    }
}

async fn adapter(hub: &Hub) -> Vec<Check> {
    let Ok(vault) = hub.open_vault() else { return Vec::new() };
    let model = hub.cloud.view().borrow().model.as_ref().map(|model| model.id.clone());
    let found = match blocking(move || vault.adapter_in_use()).await {
        Ok(found) => found,
        Err(fault) => return vec![check("adapter", "failed", fault.message, "aside adapter rollback 0")],
    };
    let damaged = found.damaged.iter().map(|version| {
        check("adapter", "failed", format!("version {version} does not verify"), "aside adapter rollback")
    });
    let now = match &found.adapter {
        None => check("adapter", "ok", "base is in use", ""),
        Some((row, _)) if model.as_ref().is_some_and(|model| *model != row.model) => check(
            "adapter",
            "warning",
            format!("version {} belongs to another model; base answers", row.version),
            "aside learn --now",
        ),
        Some((row, _)) => {
            check("adapter", "ok", format!("version {} ({}) verifies", row.version, row.variant), "")
        }
    };
    damaged.chain([now]).collect()
}

fn space(folder: &Path) -> Check {
    match rustix::fs::statvfs(folder) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let state = if free < ROOM { "warning" } else { "ok" };
            let repair = if free < ROOM { "free some space" } else { "" };
            check("disk", state, format!("{} MiB free in {}", free >> 20, folder.display()), repair)
        }
        Err(error) => check("disk", "warning", format!("{}: {error}", folder.display()), ""),
    }
}

fn permissions(hub: &Hub) -> Check {
    let paths = hub.paths();
    let open = [&paths.data_dir, &paths.state_dir, &paths.runtime_dir]
        .into_iter()
        .find(|folder| std::fs::metadata(folder).is_ok_and(|found| found.mode() & 0o077 != 0));
    match open {
        None => check("folders", "ok", "only you can enter them", ""),
        Some(folder) => {
            let repair = format!("chmod 700 {}", folder.display());
            check("folders", "failed", format!("others can enter {}", folder.display()), &repair)
        }
    }
}
