//! Identities on the link: an Ed25519 key on both ends, shown and pinned as its raw public key (RFC 7250).

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why bytes or text are no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The system gave no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// Not an Ed25519 key in PKCS #8.
    #[error("these bytes are no Ed25519 key")]
    Key,
    /// Not 64 hexadecimal digits.
    #[error("a key is 64 hexadecimal digits")]
    Text,
}

/// A key pair. Never printed.
#[derive(Clone)]
pub struct Identity {
    pkcs8: Arc<[u8]>,
    public: PublicKey,
}

impl Identity {
    /// A new one.
    ///
    /// # Errors
    /// [`IdentityError::Random`].
    pub fn generate() -> Result<Self, IdentityError> {
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| IdentityError::Random)?;
        Self::from_pkcs8(document.as_ref())
    }

    /// From what [`Identity::to_pkcs8`] gave.
    ///
    /// # Errors
    /// [`IdentityError::Key`].
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, IdentityError> {
        let pair = Ed25519KeyPair::from_pkcs8(bytes).map_err(|_| IdentityError::Key)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| IdentityError::Key)?;
        Ok(Self { pkcs8: bytes.into(), public: PublicKey(public) })
    }

    /// The secret half; for the vault or a private file only.
    #[must_use]
    pub fn to_pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn key_der(&self) -> PrivatePkcs8KeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.pkcs8.to_vec())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public)
    }
}

/// A public key: 32 bytes, 64 hexadecimal digits in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// As a SubjectPublicKeyInfo.
    pub(crate) fn to_spki(self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), &self.0].concat()
    }

    pub(crate) fn from_spki(der: &[u8]) -> Option<Self> {
        der.strip_prefix(SPKI_PREFIX.as_slice())?.try_into().ok().map(Self)
    }

    /// The first 16 bytes of the key's SHA-256 in hex: its short name in logs and routes.
    #[must_use]
    pub fn hash_hex(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.0);
        hex(digest.as_ref().get(..16).unwrap_or_default())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        unhex(text).and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(IdentityError::Text)
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|d| d.len().is_multiple_of(2))?;
    Some(
        digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |value, digit| (value << 4) | digit)).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_from_bytes_text_and_spki() {
        let identity = Identity::generate().unwrap();
        let again = Identity::from_pkcs8(identity.to_pkcs8()).unwrap();
        assert_eq!(again.public(), identity.public());
        assert_eq!(identity.public().to_string().parse(), Ok(identity.public()));
        assert_eq!(PublicKey::from_spki(&identity.public().to_spki()), Some(identity.public()));
        assert_eq!(PublicKey::from_spki(&[0; 44]), None);
        assert!("xyz".parse::<PublicKey>().is_err());
        assert!(Identity::from_pkcs8(b"nothing").is_err());
        let secret = hex(identity.to_pkcs8());
        assert!(!secret.contains(&identity.public().hash_hex()));
    }
}
