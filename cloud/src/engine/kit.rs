//! The model kit: one file with what a device needs to compute the cloud's logits and render its prompts.

use std::sync::Arc;

/// A safetensors file: `head` (U8, vocab x hidden / 32 * 34, raw Q8_0 blocks) and the metadata `format`, `tokenizer`,
/// `chat_template`, `stop`, `bos`, `hidden`, `vocab`, `layer_taps`, `window`, `context`, `model`, `name`.
#[derive(Debug, Clone)]
pub struct Kit {
    /// The file.
    pub bytes: Arc<[u8]>,
    /// Lower-case hex SHA-256 of the file: its content address.
    pub sha256: String,
}
