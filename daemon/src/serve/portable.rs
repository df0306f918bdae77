//! Adapter versions that travel: sealed with a passphrase on the way out, checked against the backbone on the way in.

use aside_adapter::Adapter;
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{self, ExportAdapterRequest, SealedAdapter};
use serde::{Deserialize, Serialize};

use super::adapters;
use super::hub::Hub;
use crate::faults::blocking;
use crate::keys::letter;
use crate::vault::{Decision, NewAdapter};

/// What a sealed file holds beside the adapter's bytes.
#[derive(Serialize, Deserialize)]
struct About {
    variant: String,
    model: String,
    lesson_tokens: u64,
    numbers: String,
    note: String,
}

/// A version, sealed.
pub(super) async fn export(hub: &Hub, request: ExportAdapterRequest) -> Result<SealedAdapter, Fault> {
    let vault = hub.open_vault()?;
    let ExportAdapterRequest { version, passphrase } = request;
    let (row, bytes) = blocking(move || {
        let version = if version == 0 { vault.version_in_use()? } else { version };
        vault.adapter(version)
    })
    .await?;
    let about = About {
        variant: row.variant,
        model: row.model,
        lesson_tokens: row.lesson_tokens,
        numbers: row.numbers,
        note: row.note,
    };
    let work = move || -> Result<Vec<u8>, String> {
        let about = serde_json::to_vec(&about).map_err(|e| e.to_string())?;
        let length = u32::try_from(about.len()).map_err(|e| e.to_string())?;
        let content = [length.to_le_bytes().as_slice(), &about, &bytes].concat();
        letter::seal(&content, &passphrase).map_err(|e| e.to_string())
    };
    let content = tokio::task::spawn_blocking(work).await;
    let content = content.map_err(|_| Fault::internal("sealing ended unexpectedly"))?;
    let content = content.map_err(|why| Fault::new(codes::BAD_REQUEST, why))?;
    Ok(SealedAdapter { content, ..SealedAdapter::default() })
}

/// A new version from a sealed file, in use at once.
pub(super) async fn import(hub: &Hub, sealed: SealedAdapter) -> Result<proto::Adapter, Fault> {
    let vault = hub.open_vault()?;
    let model = hub.cloud.view().borrow().model.as_ref().map(|model| model.id.clone());
    let SealedAdapter { content, passphrase } = sealed;
    let work = move || -> Result<NewAdapter, String> {
        let content = letter::open(&content, &passphrase).map_err(|e| e.to_string())?;
        let (length, rest) = content.split_first_chunk::<4>().ok_or("it is cut off")?;
        let (about, bytes) =
            rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or("it is cut off")?;
        let about: About = serde_json::from_slice(about).map_err(|e| e.to_string())?;
        let mut adapter = Adapter::from_bytes(bytes).map_err(|e| e.to_string())?;
        if model.is_some_and(|model| model != about.model) {
            return Err("it was learned with another backbone than the one in use".to_owned());
        }
        // Its conversations are not ours: none of them may be taken for the one at hand.
        adapter.estrange();
        Ok(NewAdapter {
            parent: 0,
            variant: about.variant,
            model: about.model,
            bytes: adapter.to_bytes().map_err(|e| e.to_string())?,
            lesson_tokens: about.lesson_tokens,
            watermark: 0,
            numbers: about.numbers,
            note: format!("imported; {}", about.note),
        })
    };
    let new = tokio::task::spawn_blocking(work).await;
    let new = new.map_err(|_| Fault::internal("opening ended unexpectedly"))?;
    let new = new.map_err(|why| Fault::new(codes::BAD_REQUEST, why))?;
    let (verdict, by, numbers) = ("promoted".to_owned(), "you".to_owned(), "{}".to_owned());
    let decision = Decision { promote: true, verdict, by, numbers };
    let version = blocking(move || vault.add_adapter(&new, &decision, crate::now())).await?;
    hub.changed();
    adapters::show(hub, version).await
}
