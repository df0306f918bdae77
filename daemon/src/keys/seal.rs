//! Sealing one key with another: ChaCha20-Poly1305 with a random nonce, bound to the slot's description.

use super::{KEY_BYTES, KeyError, VaultKey};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

fn cipher(key: &VaultKey) -> Result<LessSafeKey, KeyError> {
    UnboundKey::new(&CHACHA20_POLY1305, key.bytes()).map(LessSafeKey::new).map_err(|_| KeyError::Random)
}

/// Nonce, then the sealed key. A random nonce is safe: a wrapping key seals a handful of times in its life.
pub(super) fn seal(wrapping: &VaultKey, key: &VaultKey, about: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| KeyError::Random)?;
    let mut sealed = key.bytes().to_vec();
    cipher(wrapping)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(about), &mut sealed)
        .map_err(|_| KeyError::Random)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// `None` when the wrapping key, the sealed bytes or the description are not those of [`seal`].
pub(super) fn open(wrapping: &VaultKey, sealed: &[u8], about: &[u8]) -> Option<VaultKey> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut bytes = zeroize::Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = cipher(wrapping).ok()?.open_in_place(nonce, Aad::from(about), &mut bytes).ok()?;
    (opened.len() == KEY_BYTES).then(|| VaultKey::from_bytes(opened)).flatten()
}
