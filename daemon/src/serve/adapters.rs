//! Adapter versions as the front ends see them; version 0 is base.

use aside_daemon_api::fault::Fault;
use aside_daemon_api::proto::{Adapter, AdapterLogReply, ListAdaptersReply, ListSourcesReply};

use super::hub::Hub;
use crate::faults::blocking;
use crate::learn::{adapter, base, decision, source};
use crate::vault::Vault;

/// All versions, base first.
pub(super) async fn list(hub: &Hub) -> Result<ListAdaptersReply, Fault> {
    let vault = hub.open_vault()?;
    let (rows, in_use) = blocking(move || Ok((vault.adapters()?, vault.version_in_use()?))).await?;
    let parameters = backbone_parameters(hub);
    let versions = rows.iter().map(|row| adapter(row, in_use, parameters));
    Ok(ListAdaptersReply { adapters: [base(in_use)].into_iter().chain(versions).collect() })
}

/// One version; 0 is the one in use.
pub(super) async fn show(hub: &Hub, version: u64) -> Result<Adapter, Fault> {
    let vault = hub.open_vault()?;
    let (row, in_use) = blocking(move || {
        let in_use = vault.version_in_use()?;
        let version = if version == 0 { in_use } else { version };
        let row = if version == 0 { None } else { Some(vault.adapter(version)?.0) };
        Ok((row, in_use))
    })
    .await?;
    Ok(row.map_or_else(|| base(in_use), |row| adapter(&row, in_use, backbone_parameters(hub))))
}

/// Puts a version in use: the next answer comes from it.
pub(super) async fn rollback(hub: &Hub, version: Option<u64>) -> Result<Adapter, Fault> {
    let vault = hub.open_vault()?;
    let now = blocking(move || {
        // One that does not verify must not be put in use.
        if let Some(version) = version.filter(|version| *version > 0) {
            vault.adapter(version)?;
        }
        vault.use_version(version, "you", "{}", crate::now())
    })
    .await?;
    hub.changed();
    if now == 0 { Ok(base(0)) } else { show(hub, now).await }
}

/// Name of the switch that turns the adapter off, in the vault.
const OFF: &str = "adapter.off";

/// Turns the adapter off everywhere, or on again.
pub(super) async fn switch(hub: &Hub, on: bool) -> Result<(), Fault> {
    let vault = hub.open_vault()?;
    blocking(move || vault.put_meta(OFF, &[u8::from(!on)])).await?;
    hub.changed();
    Ok(())
}

/// Whether the person turned it off.
pub(super) fn off(vault: &Vault) -> crate::vault::Result<bool> {
    Ok(vault.meta(OFF)?.is_some_and(|value| value == [1]))
}

/// Every decision about what is in use, oldest first.
pub(super) async fn log(hub: &Hub) -> Result<AdapterLogReply, Fault> {
    let vault = hub.open_vault()?;
    let rows = blocking(move || vault.decisions()).await?;
    Ok(AdapterLogReply { decisions: rows.iter().map(decision).collect() })
}

/// Where lessons come from, oldest first.
pub(super) async fn sources(hub: &Hub) -> Result<ListSourcesReply, Fault> {
    let vault = hub.open_vault()?;
    let rows = blocking(move || vault.sources()).await?;
    Ok(ListSourcesReply { sources: rows.into_iter().map(source).collect() })
}

fn backbone_parameters(hub: &Hub) -> u64 {
    hub.cloud.view().borrow().model.as_ref().map_or(0, |model| model.parameters)
}
