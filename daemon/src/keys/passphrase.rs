//! A key from a passphrase: Argon2id with parameters that are stored in the slot.

use super::{KEY_BYTES, KeyError, VaultKey};
use argon2::{Algorithm, Argon2, Params, Version};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Largest memory a slot file may ask for, in KiB: a tampered file must not exhaust the machine.
const MOST_MEMORY: u32 = 1 << 20;
const MOST_PASSES: u32 = 64;

/// Stored beside the sealed key and bound to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Derivation {
    /// 16 random bytes in hex.
    pub(super) salt: String,
    /// KiB.
    pub(super) memory: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
}

impl Derivation {
    /// 64 MiB and three passes: about a fifth of a second on a laptop.
    pub(super) fn new() -> Result<Self, KeyError> {
        let mut salt = [0; 16];
        SystemRandom::new().fill(&mut salt).map_err(|_| KeyError::Random)?;
        Ok(Self { salt: crate::hex(&salt), memory: 64 << 10, passes: 3, lanes: 1 })
    }

    /// The wrapping key; `None` for parameters out of bounds.
    pub(super) fn key(&self, passphrase: &str) -> Option<VaultKey> {
        if self.memory > MOST_MEMORY || self.passes > MOST_PASSES {
            return None;
        }
        let params = Params::new(self.memory, self.passes, self.lanes, Some(KEY_BYTES)).ok()?;
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), self.salt.as_bytes(), key.as_mut())
            .ok()?;
        VaultKey::from_bytes(key.as_ref())
    }
}
