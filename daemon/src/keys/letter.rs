//! A sealed file that travels: ChaCha20-Poly1305 under a key from a passphrase (Argon2id), its parameters in the clear
//! and bound to the seal.
//!
//! ```text
//! "asidesl1" | length of the parameters, u32 | parameters as JSON | nonce | sealed content
//! ```

use super::passphrase::Derivation;
use super::{KeyError, VaultKey};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

const TAG: &[u8; 8] = b"asidesl1";

fn cipher(key: &VaultKey) -> Result<LessSafeKey, KeyError> {
    UnboundKey::new(&CHACHA20_POLY1305, key.bytes()).map(LessSafeKey::new).map_err(|_| KeyError::Random)
}

/// Seals `content` under a passphrase.
///
/// # Errors
/// [`KeyError::EmptyPassphrase`], [`KeyError::Random`].
pub(crate) fn seal(content: &[u8], passphrase: &str) -> Result<Vec<u8>, KeyError> {
    let passphrase = Some(passphrase).filter(|p| !p.is_empty()).ok_or(KeyError::EmptyPassphrase)?;
    let derivation = Derivation::new()?;
    let key = derivation.key(passphrase).ok_or(KeyError::Random)?;
    let parameters = serde_json::to_vec(&derivation).map_err(|_| KeyError::Random)?;
    let length = u32::try_from(parameters.len()).map_err(|_| KeyError::Random)?;
    let head = [TAG.as_slice(), &length.to_le_bytes(), &parameters].concat();
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| KeyError::Random)?;
    let mut sealed = content.to_vec();
    cipher(&key)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&head), &mut sealed)
        .map_err(|_| KeyError::Random)?;
    Ok([head.as_slice(), &nonce, &sealed].concat())
}

/// What is wrong with a sealed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LetterError {
    /// It does not begin like one.
    #[error("it is no sealed adapter")]
    Foreign,
    /// The seal does not open.
    #[error("the passphrase is wrong, or the file was changed")]
    Sealed,
}

/// Opens what [`seal`] made.
///
/// # Errors
/// [`LetterError`].
pub(crate) fn open(letter: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>, LetterError> {
    let parts = || {
        let rest = letter.strip_prefix(TAG)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (parameters, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let derivation: Derivation = serde_json::from_slice(parameters).ok()?;
        let head = letter.get(..TAG.len() + 4 + parameters.len())?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        Some((derivation, head, *nonce, sealed))
    };
    let (derivation, head, nonce, sealed) = parts().ok_or(LetterError::Foreign)?;
    let key = derivation.key(passphrase).ok_or(LetterError::Foreign)?;
    let mut content = Zeroizing::new(sealed.to_vec());
    let opened = cipher(&key).map_err(|_| LetterError::Sealed)?.open_in_place(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(head),
        &mut content,
    );
    let length = opened.map_err(|_| LetterError::Sealed)?.len();
    content.truncate(length);
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_with_its_passphrase_only_and_as_it_was() {
        let letter = seal(b"content", "open sesame").unwrap();
        assert_eq!(open(&letter, "open sesame").unwrap().as_slice(), b"content");
        assert_eq!(open(&letter, "open barley"), Err(LetterError::Sealed));
        assert_eq!(open(b"something else", "x"), Err(LetterError::Foreign));
        assert!(matches!(seal(b"content", ""), Err(KeyError::EmptyPassphrase)));
        for at in [20, letter.len() - 1] {
            let mut changed = letter.clone();
            changed[at] ^= 1;
            assert!(open(&changed, "open sesame").is_err(), "{at}");
        }
        for end in [0, 8, 11, 30, letter.len() - 8] {
            assert!(open(&letter[..end], "open sesame").is_err(), "{end}");
        }
    }
}
