//! The status of everything, at any time, and its changes.

use std::sync::Arc;
use std::time::Duration;

use aside_cloud_api::proto::Model;
use aside_daemon_api::PROTOCOL;
use aside_daemon_api::proto::{ModelInfo, StatusReply, VaultState};
use tokio::sync::{mpsc, watch};

use super::hub::{Hub, VaultView};
use crate::faults::blocking;

/// Changes within this time are one.
const TOGETHER: Duration = Duration::from_millis(50);

/// The status now.
pub(super) async fn now(hub: &Hub) -> StatusReply {
    let cloud = hub.cloud.view().borrow().clone();
    let progress = *hub.learner.progress().borrow();
    let vault = hub.vault.borrow().clone();
    let why = hub.why.borrow().clone();
    let (state, detail, open) = match vault {
        VaultView::Absent => (VaultState::Absent, String::new(), None),
        VaultView::Locked(why) => (VaultState::Locked, why, None),
        VaultView::Damaged(why) => (VaultState::Damaged, why, None),
        VaultView::Open(vault) => (VaultState::Open, String::new(), Some(vault)),
    };
    let model_id = cloud.model.as_ref().map(|model| model.id.clone()).unwrap_or_default();
    let numbers = match open {
        None => (0, 0, false, false),
        Some(vault) => {
            let read = move || {
                let pending = vault.lesson_totals(&model_id)?.pending_tokens;
                let off = super::adapters::off(&vault)?;
                Ok((pending, vault.version_in_use()?, super::idle::paused(&vault)?, off))
            };
            blocking(read).await.unwrap_or_default()
        }
    };
    let mut reply = StatusReply {
        build: hub.build().to_owned(),
        protocol: PROTOCOL,
        pid: std::process::id(),
        uptime_seconds: hub.started.elapsed().as_secs(),
        vault_detail: detail,
        key_slots: hub.keys().kinds().iter().map(|kind| kind.as_str().to_owned()).collect(),
        link_detail: cloud.detail,
        cloud: cloud.place,
        rtt_us: cloud.rtt_us,
        model: cloud.model.as_ref().map(model_info),
        learning_progress: progress.fraction,
        pending_tokens: numbers.0,
        adapter_version: numbers.1,
        learning_why: why,
        learning_paused: numbers.2,
        adapter_off: numbers.3,
        ..StatusReply::default()
    };
    reply.set_vault(state);
    reply.set_link(cloud.state);
    reply.set_learning(progress.state);
    reply
}

/// As the front ends know it.
pub(super) fn model_info(model: &Model) -> ModelInfo {
    ModelInfo {
        id: model.id.clone(),
        name: model.name.clone(),
        parameters: model.parameters,
        hidden: model.hidden,
        vocab: model.vocab,
        layers: model.layers,
        taps: model.taps.clone(),
        context: model.context,
    }
}

/// Sends the status now and after every change, until the front end hangs up or the daemon stops.
pub(super) async fn watch(hub: Arc<Hub>, sink: mpsc::Sender<Result<StatusReply, tonic::Status>>) {
    let mut vault = hub.vault.subscribe();
    let mut cloud = hub.cloud.view();
    let mut changes = hub.changes.subscribe();
    let mut learning = hub.learner.progress();
    let mut why = hub.why.subscribe();
    let mut last: Option<StatusReply> = None;
    loop {
        for mark in [&mut vault as &mut dyn Mark, &mut cloud, &mut changes, &mut learning, &mut why] {
            mark.seen();
        }
        let mut reply = now(&hub).await;
        let uptime = std::mem::take(&mut reply.uptime_seconds);
        if last.as_ref() != Some(&reply) {
            last = Some(reply.clone());
            reply.uptime_seconds = uptime;
            if sink.send(Ok(reply)).await.is_err() {
                return;
            }
        }
        let alive = tokio::select! {
            changed = vault.changed() => changed.is_ok(),
            changed = cloud.changed() => changed.is_ok(),
            changed = changes.changed() => changed.is_ok(),
            changed = learning.changed() => changed.is_ok(),
            changed = why.changed() => changed.is_ok(),
            () = sink.closed() => false,
            () = hub.stop.cancelled() => false,
        };
        if !alive {
            return;
        }
        tokio::time::sleep(TOGETHER).await;
    }
}

/// Something watched, of whatever type.
trait Mark {
    fn seen(&mut self);
}

impl<T> Mark for watch::Receiver<T> {
    fn seen(&mut self) {
        self.mark_unchanged();
    }
}
