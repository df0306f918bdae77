//! The model kit: one file with what a device needs to compute the cloud's logits and render its prompts.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::{Spec, folder::Texts, q8_0::row_bytes, store::hex};

/// A safetensors file: `head` (U8, vocab x hidden / 32 * 34, raw Q8_0 blocks), `starter` (U8, a file of its own that
/// only devices read; absent where the backbone was not prepared) and the metadata `format`, `tokenizer`,
/// `chat_template`, `stop`, `bos`, `hidden`, `vocab`, `layer_taps`, `window`, `context`, `model`, `name`.
#[derive(Debug, Clone)]
pub struct Kit {
    /// The file.
    pub bytes: Arc<[u8]>,
    /// Lower-case hex SHA-256 of the file: its content address.
    pub sha256: String,
    /// It has a starter.
    pub prepared: bool,
}

/// Value of the metadata's `format`.
pub const KIT_FORMAT: &str = "aside-kit-1";

impl Kit {
    /// Builds the file; the same model gives the same bytes. Also returns where in it the head's blocks lie.
    pub(super) fn build(spec: &Spec, texts: &Texts, head: &[u8]) -> (Self, Range<usize>) {
        let starter = texts.starter.as_ref().map_or(&[][..], |starter| &starter.bytes);
        let mut header = header(spec, texts, head.len(), starter.len()).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let start = 8 + header.len();
        let mut bytes = Vec::with_capacity(start + head.len() + starter.len());
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header);
        bytes.extend(head);
        bytes.extend(starter);
        let sha256 = hex(digest(&SHA256, &bytes).as_ref());
        let prepared = !starter.is_empty();
        (Self { bytes: bytes.into(), sha256, prepared }, start..start + head.len())
    }
}

fn header(spec: &Spec, texts: &Texts, head: usize, starter: usize) -> Value {
    let metadata = BTreeMap::from([
        ("format", KIT_FORMAT.to_owned()),
        ("tokenizer", texts.tokenizer.clone()),
        ("chat_template", texts.chat_template.clone()),
        ("stop", json!(spec.stop).to_string()),
        ("bos", texts.bos.clone()),
        ("hidden", spec.hidden.to_string()),
        ("vocab", spec.vocab.to_string()),
        ("layer_taps", spec.taps.len().to_string()),
        ("window", spec.window.to_string()),
        ("context", spec.context.to_string()),
        ("model", spec.id.clone()),
        ("name", spec.name.clone()),
    ]);
    let rows =
        json!({ "dtype": "U8", "shape": [spec.vocab, row_bytes(spec.hidden)], "data_offsets": [0, head] });
    let mut header = json!({ "__metadata__": metadata, "head": rows });
    if let (Some(map), 1..) = (header.as_object_mut(), starter) {
        let place = json!({ "dtype": "U8", "shape": [starter], "data_offsets": [head, head + starter] });
        map.insert("starter".to_owned(), place);
    }
    header
}
