//! The slot file and the three ways through it.

use super::file::{read_key, read_private, write_private};
use super::passphrase::Derivation;
use super::{KeyError, SlotKind, VaultKey, keyring_thread, seal};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct SlotFile {
    format: u32,
    slots: Vec<Slot>,
}

#[derive(Serialize, Deserialize)]
struct Slot {
    kind: SlotKind,
    /// Names this slot's entry in the keyring.
    account: String,
    derivation: Option<Derivation>,
    /// Hex.
    sealed: String,
}

impl Slot {
    /// What the seal is bound to: everything but the sealed key.
    fn about(&self) -> Vec<u8> {
        serde_json::to_vec(&(FORMAT, self.kind, &self.account, &self.derivation)).unwrap_or_default()
    }
}

/// The file that says: these slots have no vault yet. Without it, slots without a vault mean that the vault was lost.
pub(crate) fn unborn_marker(folder: &Path) -> PathBuf {
    folder.join("vault.unborn")
}

/// Key slots of the vault in one folder.
#[derive(Debug, Clone)]
pub struct KeyStore {
    folder: PathBuf,
}

impl KeyStore {
    /// For the vault in `folder`; nothing is read yet.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn slots_path(&self) -> PathBuf {
        self.folder.join("slots.json")
    }

    /// The key file of a slot of kind file.
    #[must_use]
    pub fn key_path(&self) -> PathBuf {
        self.folder.join("key")
    }

    /// Whether slots were made.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.slots_path().symlink_metadata().is_ok()
    }

    /// Kinds of the slots there are; none when they cannot be read.
    #[must_use]
    pub fn kinds(&self) -> Vec<SlotKind> {
        self.read().map(|f| f.slots.iter().map(|s| s.kind).collect()).unwrap_or_default()
    }

    fn damaged(&self, why: &str) -> KeyError {
        KeyError::Damaged { path: self.slots_path(), why: why.to_owned() }
    }

    fn read(&self) -> Result<SlotFile, KeyError> {
        if !self.exists() {
            return Err(KeyError::NoVault);
        }
        let file: SlotFile = serde_json::from_slice(&read_private(&self.slots_path())?)
            .map_err(|_| self.damaged("is no slot file"))?;
        if file.format == FORMAT { Ok(file) } else { Err(self.damaged("is of a newer version of Aside")) }
    }

    /// Makes a vault key and its first slot.
    ///
    /// # Errors
    /// [`KeyError::Exists`] where slots or a vault exist; [`KeyError::Keyring`]; [`KeyError::EmptyPassphrase`]; IO.
    pub fn create(&self, kind: SlotKind, passphrase: Option<&str>) -> Result<VaultKey, KeyError> {
        // A vault without slots may still get its slots back from a backup: its key file stays as it is.
        if self.exists() || self.folder.join("vault.db").symlink_metadata().is_ok() {
            return Err(KeyError::Exists(self.folder.clone()));
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|source| KeyError::Io { path: self.folder.clone(), source })?;
        let key = VaultKey::random()?;
        let account = format!(
            "vault-{}",
            crate::hex(VaultKey::random()?.bytes().first_chunk::<8>().unwrap_or(&[0; 8]))
        );
        let mut slot = Slot { kind, account, derivation: None, sealed: String::new() };
        let wrapping = match kind {
            SlotKind::Keyring => {
                let wrapping = VaultKey::random()?;
                keyring_thread::set(&slot.account, &wrapping)?;
                wrapping
            }
            SlotKind::Passphrase => {
                let passphrase = passphrase.filter(|p| !p.is_empty()).ok_or(KeyError::EmptyPassphrase)?;
                let derivation = Derivation::new()?;
                let wrapping =
                    derivation.key(passphrase).ok_or_else(|| self.damaged("has bad parameters"))?;
                slot.derivation = Some(derivation);
                wrapping
            }
            SlotKind::File => {
                let wrapping = VaultKey::random()?;
                let text = Zeroizing::new(crate::hex(wrapping.bytes()));
                write_private(&self.key_path(), text.as_bytes())?;
                wrapping
            }
        };
        slot.sealed = crate::hex(&seal::seal(&wrapping, &key, &slot.about())?);
        let file = SlotFile { format: FORMAT, slots: vec![slot] };
        let bytes = serde_json::to_vec_pretty(&file).map_err(|_| self.damaged("cannot be written"))?;
        write_private(&unborn_marker(&self.folder), b"")?;
        write_private(&self.slots_path(), &bytes)?;
        Ok(key)
    }

    /// The vault key, by whichever slot opens: those that need nobody first, then the passphrase.
    ///
    /// # Errors
    /// What the last slot tried says; [`KeyError::Locked`] when only a passphrase can help and none is given.
    pub fn unlock(&self, passphrase: Option<&str>) -> Result<VaultKey, KeyError> {
        let mut file = self.read()?;
        file.slots.sort_by_key(|s| s.kind == SlotKind::Passphrase);
        let mut last = self.damaged("holds no slot");
        for slot in &file.slots {
            match self.open(slot, passphrase) {
                Ok(key) => return Ok(key),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn open(&self, slot: &Slot, passphrase: Option<&str>) -> Result<VaultKey, KeyError> {
        let sealed = crate::unhex(&slot.sealed).ok_or_else(|| self.damaged("holds a damaged slot"))?;
        let wrapping = match slot.kind {
            SlotKind::Keyring => keyring_thread::get(&slot.account)?,
            SlotKind::File => read_key(&self.key_path())?,
            SlotKind::Passphrase => {
                let passphrase = passphrase.ok_or(KeyError::Locked)?;
                let derivation =
                    slot.derivation.as_ref().ok_or_else(|| self.damaged("lacks its parameters"))?;
                derivation.key(passphrase).ok_or_else(|| self.damaged("has bad parameters"))?
            }
        };
        seal::open(&wrapping, &sealed, &slot.about()).ok_or_else(|| match slot.kind {
            SlotKind::Passphrase => KeyError::WrongPassphrase,
            kind => {
                self.damaged(&format!("does not fit the key of its {kind} slot: one of the two was changed"))
            }
        })
    }
}
