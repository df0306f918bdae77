//! Tells a wrong key from a damaged first page, which SQLCipher reports alike: every page carries an HMAC-SHA512 of its
//! own, so one page that verifies proves the key.

use crate::keys::VaultKey;
use ring::{hmac, pbkdf2};
use std::fs::File;
use std::io::Read;
use std::num::NonZeroU32;
use std::path::Path;
use zeroize::Zeroizing;

// SQLCipher 4's defaults, which the vault uses.
pub(super) const PAGE: usize = 4096;
const SALT: usize = 16;
const HMAC: usize = 64;
const HMAC_SALT_MASK: u8 = 0x3a;
const HMAC_KEY_ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// Whether any page of the file was written with `key`. False when the file cannot be read or its first 16 bytes, the
/// salt, were changed.
pub(super) fn key_fits(path: &Path, key: &VaultKey) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let mut page = [0; PAGE];
    let mut page_key = None;
    let mut number = 0u32;
    while file.read_exact(&mut page).is_ok() {
        number = number.saturating_add(1);
        let page_key = page_key.get_or_insert_with(|| hmac_key(&page, key));
        // Page 1 starts with the salt, which is not covered.
        if verifies(&page, if number == 1 { SALT } else { 0 }, number, page_key) {
            return true;
        }
    }
    false
}

fn hmac_key(first_page: &[u8; PAGE], key: &VaultKey) -> hmac::Key {
    let salt: Vec<u8> = first_page.iter().take(SALT).map(|b| b ^ HMAC_SALT_MASK).collect();
    let mut derived = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, HMAC_KEY_ROUNDS, &salt, key.bytes(), derived.as_mut());
    hmac::Key::new(hmac::HMAC_SHA512, derived.as_ref())
}

/// The HMAC lies at the page's end and covers the ciphertext, its IV and the page number.
fn verifies(page: &[u8; PAGE], from: usize, number: u32, key: &hmac::Key) -> bool {
    let Some((body, tag)) = page.split_at_checked(PAGE - HMAC) else { return false };
    let message = [body.get(from..).unwrap_or_default(), &number.to_le_bytes()].concat();
    hmac::verify(key, &message, tag).is_ok()
}
