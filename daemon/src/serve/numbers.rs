//! `aside stats`: sums over the vault.

use aside_daemon_api::fault::Fault;
use aside_daemon_api::proto::StatsReply;

use super::ask::seconds;
use super::hub::Hub;
use crate::faults::blocking;

/// The sums now.
pub(super) async fn stats(hub: &Hub) -> Result<StatsReply, Fault> {
    let vault = hub.open_vault()?;
    let model = hub.cloud.view().borrow().model.as_ref().map(|model| model.id.clone()).unwrap_or_default();
    let read = move || Ok((vault.totals()?, vault.lesson_totals(&model)?, vault.version_in_use()?));
    let (totals, lessons, adapter_version) = blocking(read).await?;
    Ok(StatsReply {
        conversations: totals.conversations,
        answers: totals.answers,
        tokens: totals.tokens,
        open: totals.open,
        side: totals.side,
        changed: totals.changed,
        transmissions: totals.transmissions,
        seconds: Some(seconds(totals.cloud_us, totals.device_us, totals.net_us)),
        bytes_up: totals.bytes_up,
        bytes_down: totals.bytes_down,
        lessons: lessons.lessons,
        lesson_tokens: lessons.tokens,
        pending_tokens: lessons.pending_tokens,
        cached_states_bytes: lessons.cached_bytes,
        evicted_lessons: lessons.evicted,
        adapter_versions: totals.adapter_versions,
        adapter_version,
        vault_bytes: totals.vault_bytes,
    })
}
