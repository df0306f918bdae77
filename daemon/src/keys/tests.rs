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

    let (_dir, store) = self::store();
    store.create(SlotKind::Passphrase, Some("p")).unwrap();
    edit(&store, |text| text.replace("\"passes\": 3", "\"passes\": 4000000000"));
    assert!(matches!(store.unlock(Some("p")), Err(KeyError::Damaged { .. })));
}

#[test]
fn a_key_is_never_printed() {
    assert_eq!(format!("{:?}", VaultKey::random().unwrap()), "VaultKey(..)");
}

#[test]
fn a_keyring_slot_opens_while_the_keyring_holds_its_key() {
    let (_dir, store) = store();
    let key = store.create(SlotKind::Keyring, None).unwrap();
    assert_eq!(store.unlock(None).unwrap().bytes(), key.bytes());
    assert!(!store.key_path().exists());
    edit(&store, |text| text.replace("\"vault-", "\"vault-0"));
    assert!(matches!(store.unlock(None), Err(KeyError::Keyring(_))), "no such entry");
}

#[test]
fn a_slot_is_bound_to_its_kind_and_its_parameters() {
    let (_dir, store) = store();
    store.create(SlotKind::Passphrase, Some("p")).unwrap();
    edit(&store, |text| text.replace("\"passes\": 3", "\"passes\": 4"));
    assert!(matches!(store.unlock(Some("p")), Err(KeyError::WrongPassphrase)));

    let (_dir, store) = self::store();
    let key = store.create(SlotKind::Keyring, None).unwrap();
    let (_other_dir, other) = self::store();
    other.create(SlotKind::File, None).unwrap();
    // The keyring's sealed key under the words of a file slot, with the right wrapping key in the file.
    let read = |store: &KeyStore| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(store.key_path().with_file_name("slots.json")).unwrap())
            .unwrap()
    };
    let mut slots = read(&store);
    let wrapping = keyring_thread::get(slots["slots"][0]["account"].as_str().unwrap()).unwrap();
    std::fs::write(other.key_path(), crate::hex(wrapping.bytes())).unwrap();
    slots["slots"][0]["kind"] = "file".into();
    std::fs::write(other.key_path().with_file_name("slots.json"), slots.to_string()).unwrap();
    assert!(matches!(other.unlock(None), Err(KeyError::Damaged { .. })));
    slots["slots"][0]["kind"] = "keyring".into();
    std::fs::write(other.key_path().with_file_name("slots.json"), slots.to_string()).unwrap();
    assert_eq!(other.unlock(None).unwrap().bytes(), key.bytes(), "the words alone made the difference");
}

#[test]
fn links_and_pipes_are_no_key_files() {
    let (dir, store) = store();
    store.create(SlotKind::File, None).unwrap();
    let elsewhere = dir.path().join("elsewhere");
    std::fs::rename(store.key_path(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, store.key_path()).unwrap();
    let refused = store.unlock(None).unwrap_err();
    assert!(refused.to_string().contains("symbolic link"), "{refused}");
    std::fs::remove_file(store.key_path()).unwrap();
    let made = std::process::Command::new("mkfifo").args(["-m", "600"]).arg(store.key_path()).status();
    if made.is_ok_and(|status| status.success()) {
        assert!(matches!(store.unlock(None), Err(KeyError::Damaged { .. })));
    }
}

#[test]
fn a_vault_without_slots_is_not_run_over() {
    let (_dir, store) = store();
    store.create(SlotKind::File, None).unwrap();
    let folder = store.key_path().parent().unwrap().to_owned();
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let key = std::fs::read(store.key_path()).unwrap();
    std::fs::write(folder.join("vault.db"), b"a vault").unwrap();
    std::fs::remove_file(folder.join("slots.json")).unwrap();
    assert!(matches!(store.create(SlotKind::File, None), Err(KeyError::Exists(_))));
    assert_eq!(std::fs::read(store.key_path()).unwrap(), key);
}
