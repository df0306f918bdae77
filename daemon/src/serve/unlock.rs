//! Making and opening the vault. Whatever needs nobody (keyring, key file, a passphrase file) is tried at the start,
//! off the path of the calls.

use std::sync::Arc;

use aside_cloud_api::identity::Identity;
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{InitReply, InitRequest, UnlockRequest};
use zeroize::Zeroizing;

use super::hub::{Hub, VaultView};
use crate::cloud::Place;
use crate::faults::{blocking, key_fault, vault_fault};
use crate::keys::{KeyError, SlotKind};
use crate::vault::{Vault, VaultError};

/// Name of the device's key in the vault.
const IDENTITY: &str = "device.identity";
const PASSPHRASE_FILE: &str = "ASIDE_PASSPHRASE_FILE";

/// Opens the vault at the start, if that needs nobody.
pub(super) async fn by_itself(hub: Arc<Hub>) {
    if !matches!(&*hub.vault.borrow(), VaultView::Locked(_)) {
        return;
    }
    if let Err(fault) = unlock_with(&hub, passphrase_file()).await {
        tracing::info!(code = fault.code, why = fault.message, "the vault stays locked");
    }
}

/// From the file that the environment names.
fn passphrase_file() -> Option<Zeroizing<String>> {
    let path = std::env::var_os(PASSPHRASE_FILE).filter(|path| !path.is_empty())?;
    let text = std::fs::read_to_string(path).ok().map(Zeroizing::new)?;
    Some(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// Opens the vault with a passphrase; nothing to do where it is open.
pub(super) async fn unlock(hub: &Arc<Hub>, request: UnlockRequest) -> Result<(), Fault> {
    unlock_with(hub, Some(Zeroizing::new(request.passphrase)).filter(|p| !p.is_empty())).await
}

async fn unlock_with(hub: &Arc<Hub>, passphrase: Option<Zeroizing<String>>) -> Result<(), Fault> {
    let _turn = hub.opening.lock().await;
    if matches!(&*hub.vault.borrow(), VaultView::Open(_)) {
        return Ok(());
    }
    let (keys, file) = (hub.keys(), hub.paths().vault_file());
    let opened = tokio::task::spawn_blocking(move || {
        let key = keys.unlock(passphrase.as_ref().map(|p| p.as_str())).map_err(OpenError::Key)?;
        // The slots were made, but a crash came before the vault.
        let vault = if file.exists() { Vault::open(&file, &key) } else { Vault::create(&file, &key) };
        vault.map_err(OpenError::Vault)
    });
    let opened = opened.await.map_err(|_| Fault::internal("opening the vault failed unexpectedly"))?;
    match opened {
        Ok(vault) => opened_vault(hub, vault).await,
        Err(error) => {
            let fault = error.fault();
            hub.vault.send_replace(error.view());
            Err(fault)
        }
    }
}

enum OpenError {
    Key(KeyError),
    Vault(VaultError),
}

impl OpenError {
    fn fault(&self) -> Fault {
        match self {
            Self::Key(error) => key_fault(error),
            // The slots gave a key: that it does not fit is damage, whatever the person typed.
            Self::Vault(error @ VaultError::Key(_)) => {
                Fault::new(codes::DAMAGED, error.to_string()).repair("aside doctor")
            }
            Self::Vault(error) => vault_fault(error),
        }
    }

    fn view(&self) -> VaultView {
        match self {
            Self::Key(KeyError::NoVault) => VaultView::Absent,
            Self::Key(error @ KeyError::Damaged { .. }) => VaultView::Damaged(error.to_string()),
            Self::Key(error) => VaultView::Locked(error.to_string()),
            Self::Vault(error) => VaultView::Damaged(error.to_string()),
        }
    }
}

/// Makes the vault with its first key slot.
pub(super) async fn init(hub: &Arc<Hub>, request: InitRequest) -> Result<InitReply, Fault> {
    let _turn = hub.opening.lock().await;
    let kind: SlotKind = request.key.parse().map_err(|why: String| Fault::new(codes::BAD_REQUEST, why))?;
    if !matches!(&*hub.vault.borrow(), VaultView::Absent) {
        let message = format!("a vault exists already in {}", hub.paths().data_dir.display());
        return Err(Fault::new(codes::BAD_REQUEST, message).repair("aside doctor"));
    }
    let passphrase = Zeroizing::new(request.passphrase);
    let (keys, file) = (hub.keys(), hub.paths().vault_file());
    let made = tokio::task::spawn_blocking(move || {
        let key = keys.create(kind, Some(passphrase.as_str())).map_err(|error| key_fault(&error))?;
        Vault::create(&file, &key).map_err(|error| vault_fault(&error))
    });
    let vault = made.await.map_err(|_| Fault::internal("making the vault failed unexpectedly"))??;
    opened_vault(hub, vault).await?;
    Ok(InitReply { note: kind.note().to_owned() })
}

/// Publishes the open vault and connects to the cloud it names.
async fn opened_vault(hub: &Arc<Hub>, vault: Vault) -> Result<(), Fault> {
    let identity = identity(&vault).await?;
    let stored = {
        let vault = vault.clone();
        blocking(move || vault.meta(crate::cloud::PLACE)).await?
    };
    hub.vault.send_replace(VaultView::Open(vault));
    let place = match Place::chosen(stored.as_deref(), &hub.settings().cloud.uri) {
        Ok(place) => place,
        Err(fault) => {
            tracing::warn!(%fault, "the cloud's address cannot be used; a local one is started");
            Place::Local
        }
    };
    hub.cloud.start(identity, place).await;
    Ok(())
}

/// The device's key pair, made once.
pub(super) async fn identity(vault: &Vault) -> Result<Identity, Fault> {
    let vault = vault.clone();
    let found = tokio::task::spawn_blocking(move || {
        let kept = vault.meta(IDENTITY).map_err(|error| vault_fault(&error))?;
        if let Some(identity) = kept.and_then(|bytes| Identity::from_pkcs8(&bytes).ok()) {
            return Ok(identity);
        }
        let identity = Identity::generate().map_err(|error| Fault::internal(error.to_string()))?;
        vault.put_meta(IDENTITY, identity.to_pkcs8()).map_err(|error| vault_fault(&error))?;
        Ok(identity)
    });
    found.await.map_err(|_| Fault::internal("the vault's thread ended unexpectedly"))?
}
