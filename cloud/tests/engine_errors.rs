//! What `load` says about folders that are no model: every message names the file and the cause.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{fs, path::Path};

use aside_cloud::engine::{Precision, load};
use tempfile::TempDir;

fn model() -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/engine/qwen2");
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn error(dir: &Path) -> String {
    load(dir, Precision::Q8_0).err().expect("it should not load").to_string()
}

fn edit(dir: &Path, file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(dir.join(file)).unwrap();
    assert!(text.contains(from), "{file} lacks {from}");
    fs::write(dir.join(file), text.replace(from, to)).unwrap();
}

fn shard(dir: &Path) -> std::path::PathBuf {
    let mut shards = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    shards.find(|path| path.to_string_lossy().contains("model-00001")).unwrap()
}

#[test]
fn the_copy_loads() {
    load(model().path(), Precision::Q8_0).unwrap();
}

#[test]
fn missing_files_are_named() {
    for file in ["config.json", "tokenizer.json"] {
        let dir = model();
        fs::remove_file(dir.path().join(file)).unwrap();
        assert!(error(dir.path()).contains(file));
    }
    let dir = model();
    fs::remove_file(shard(dir.path())).unwrap();
    assert!(error(dir.path()).contains("model-00001"));
    assert!(error(Path::new("/nowhere")).contains("config.json"));
}

#[test]
fn a_truncated_weight_file_is_named() {
    let dir = model();
    let path = shard(dir.path());
    let bytes = fs::read(&path).unwrap();
    for keep in [0, 5, 40, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..keep]).unwrap();
        let message = error(dir.path());
        assert!(message.contains("model-00001") && message.contains("cut short"), "{keep}: {message}");
    }
    fs::write(&path, b"\x02\0\0\0\0\0\0\0][").unwrap();
    assert!(error(dir.path()).contains("no safetensors header"));
}

#[test]
fn a_missing_tensor_and_a_wrong_shape_are_named() {
    let dir = model();
    edit(dir.path(), "config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4");
    let message = error(dir.path());
    assert!(message.contains("model.layers.3.input_layernorm.weight"), "{message}");

    let dir = model();
    edit(dir.path(), "config.json", "\"intermediate_size\": 40", "\"intermediate_size\": 44");
    let message = error(dir.path());
    assert!(
        message.contains("mlp.gate_proj") && message.contains("[40, 32]") && message.contains("[44, 32]"),
        "{message}"
    );
}

#[test]
fn another_architecture_is_named() {
    let dir = model();
    edit(dir.path(), "config.json", "\"qwen2\"", "\"gemma3\"");
    let message = error(dir.path());
    assert!(message.contains("gemma3") && message.contains("config.json"), "{message}");
}

#[test]
fn an_index_that_leaves_the_folder_is_refused() {
    let dir = model();
    edit(dir.path(), "model.safetensors.index.json", "model-00001", "../model-00001");
    assert!(error(dir.path()).contains("outside the folder"));
}
