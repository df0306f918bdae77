//! Key slots: the vault key, random and never stored bare, sealed once for every way of opening it (architecture,
//! "The vault"). `slots.json` holds the sealed keys; each seal is bound to its slot's kind and parameters.

mod error;
mod file;
mod keyring_thread;
pub(crate) mod letter;
mod passphrase;
mod seal;
mod store;

pub use error::KeyError;
pub use store::KeyStore;
pub(crate) use store::unborn_marker;

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroize;

/// Bytes of every key.
pub const KEY_BYTES: usize = 32;

/// A 32-byte key in memory; wiped when it goes, never printed.
#[derive(Clone, Zeroize)]
#[zeroize(drop)]
pub struct VaultKey([u8; KEY_BYTES]);

impl VaultKey {
    /// From the system's generator.
    ///
    /// # Errors
    /// [`KeyError::Random`] when the system gives none.
    pub fn random() -> Result<Self, KeyError> {
        let mut bytes = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::Random)?;
        Ok(Self(bytes))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VaultKey(..)")
    }
}

/// Ways of opening the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotKind {
    /// A random key in the operating system's keyring.
    Keyring,
    /// A passphrase, by Argon2id.
    Passphrase,
    /// A random key in a file that only its owner may read; chosen by the person.
    File,
}

impl SlotKind {
    /// The word on the command line and on screen.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keyring => "keyring",
            Self::Passphrase => "passphrase",
            Self::File => "file",
        }
    }

    /// What this slot protects against, and what not.
    #[must_use]
    pub fn note(self) -> &'static str {
        match self {
            Self::Keyring => {
                "The key lies in the system's keyring: whoever can unlock your session can read the vault; a copy of \
                 the disk alone cannot be read."
            }
            Self::Passphrase => {
                "The key is made from your passphrase: without it nobody reads the vault, and nobody can restore it \
                 if you forget it."
            }
            Self::File => {
                "The key lies in a file beside the vault that only you may read: it protects a copy of the vault \
                 that travels without the key file, not against someone who reads your home folder."
            }
        }
    }
}

impl fmt::Display for SlotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SlotKind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        [Self::Keyring, Self::Passphrase, Self::File]
            .into_iter()
            .find(|k| k.as_str() == word)
            .ok_or_else(|| "a key slot is keyring, passphrase or file".to_owned())
    }
}

#[cfg(test)]
mod tests;
