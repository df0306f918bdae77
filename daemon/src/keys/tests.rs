//! Slots on real files.

use super::*;
use std::os::unix::fs::PermissionsExt;

fn store() -> (tempfile::TempDir, KeyStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = KeyStore::at(&dir.path().join("data"));
    (dir, store)
}

fn edit(store: &KeyStore, change: impl Fn(&str) -> String) {
    let path = store.key_path().with_file_name("slots.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_ne!(change(&text), text);
    std::fs::write(&path, change(&text)).unwrap();
}

#[test]
fn a_file_slot_opens_until_its_file_goes() {
    let (_dir, store) = store();
    assert!(matches!(store.unlock(None), Err(KeyError::NoVault)));
    let key = store.create(SlotKind::File, None).unwrap();
    assert_eq!(store.unlock(None).unwrap().bytes(), key.bytes());
    assert_eq!(store.kinds(), [SlotKind::File]);
    assert!(matches!(store.create(SlotKind::File, None), Err(KeyError::Exists(_))));
    for name in ["key", "slots.json"] {
        let mode = std::fs::metadata(store.key_path().with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let bytes = std::fs::read(store.key_path().with_file_name(name)).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(&crate::hex(key.bytes())));
    }
    std::fs::set_permissions(store.key_path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(store.unlock(None), Err(KeyError::Damaged { .. })));
    std::fs::remove_file(store.key_path()).unwrap();
    assert!(matches!(store.unlock(None), Err(KeyError::Io { .. })));
}

#[test]
fn a_passphrase_opens_and_nothing_else_does() {
    let (_dir, store) = store();
    assert!(matches!(store.create(SlotKind::Passphrase, Some("")), Err(KeyError::EmptyPassphrase)));
    let key = store.create(SlotKind::Passphrase, Some("correct horse")).unwrap();
    assert_eq!(store.unlock(Some("correct horse")).unwrap().bytes(), key.bytes());
    assert!(matches!(store.unlock(Some("wrong horse")), Err(KeyError::WrongPassphrase)));
    assert!(matches!(store.unlock(None), Err(KeyError::Locked)));
}

#[test]
fn changed_slots_do_not_open() {
    let (_dir, store) = store();
    store.create(SlotKind::File, None).unwrap();
    edit(&store, |text| text.replace("\"vault-", "\"Vault-"));
    assert!(matches!(store.unlock(None), Err(KeyError::Damaged { .. })));
    edit(&store, |text| text.replace('{', "["));
    assert!(matches!(store.unlock(None), Err(KeyError::Damaged { .. })));

    let (_dir, store) = super::tests::store();
    store.create(SlotKind::Passphrase, Some("p")).unwrap();
    edit(&store, |text| text.replace("\"passes\": 3", "\"passes\": 4000000000"));
    assert!(matches!(store.unlock(Some("p")), Err(KeyError::Damaged { .. })));
}

#[test]
fn a_key_is_never_printed() {
    assert_eq!(format!("{:?}", VaultKey::random().unwrap()), "VaultKey(..)");
}
