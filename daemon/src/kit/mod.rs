//! The model kit on the device: head, tokenizer and chat template of the backbone, out of one verified file.
//!
//! It turns conversations into token ids and ids into text. Message text never becomes a special token.

pub mod cache;
mod conversation;
mod detokenizer;
mod template;
mod tokens;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use aside_adapter::{Head, Shape, Starter};
use aside_cloud_api::codec::Layout;
use ring::digest::{SHA256, digest};
use safetensors::SafeTensors;

pub use conversation::{Encoded, Message, Prompt, Said};
pub use detokenizer::Detokenizer;
use template::Template;
use tokens::Tokens;

/// Value of the metadata's `format` that this build reads.
const FORMAT: &str = "aside-kit-1";

/// Why a kit cannot be read or used.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// The bytes are not those of this content address.
    #[error("the model kit does not match its checksum; it is fetched again")]
    Checksum,
    /// A part is missing or does not fit.
    #[error("the model kit cannot be read: {0}")]
    Damaged(String),
    /// The chat template refuses the conversation.
    #[error("the model's chat template refuses this conversation: {0}")]
    Template(String),
    /// The tokenizer failed.
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
    /// Even the newest turn alone is longer than the backbone's context.
    #[error("the message has {tokens} tokens and the model takes {limit}; shorten it")]
    TooLong {
        /// Tokens of the shortest prompt there is.
        tokens: usize,
        /// What fits beside an answer.
        limit: usize,
    },
}

/// A verified kit, ready to use.
pub struct Kit {
    sha256: String,
    bytes: Arc<[u8]>,
    rows: std::ops::Range<usize>,
    starter: Option<(Starter, Vec<u8>)>,
    head: Head,
    tokens: Tokens,
    template: Template,
    stop: Vec<u32>,
    layout: Layout,
    vocab: usize,
    window: usize,
    context: usize,
    model: String,
    name: String,
}

impl Kit {
    /// Verifies and reads a kit.
    ///
    /// # Errors
    /// [`KitError::Checksum`] when the bytes are others, [`KitError::Damaged`] when a part is missing.
    pub fn open(bytes: Arc<[u8]>, sha256: &str) -> Result<Self, KitError> {
        if crate::hex(digest(&SHA256, &bytes).as_ref()) != sha256 {
            return Err(KitError::Checksum);
        }
        let damaged = |what: String| KitError::Damaged(what);
        let (header, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
        let fields = metadata.metadata().clone().unwrap_or_default();
        let text = |key: &str| fields.get(key).cloned().ok_or_else(|| damaged(format!("it has no {key}")));
        let number =
            |key: &str| text(key)?.parse::<usize>().map_err(|_| damaged(format!("its {key} is no number")));
        if text("format")? != FORMAT {
            return Err(damaged("it is of another format; update aside".into()));
        }
        let (hidden, vocab) = (number("hidden")?, number("vocab")?);
        let layout = Layout { hidden, layer_taps: number("layer_taps")? };
        if hidden == 0 || !hidden.is_multiple_of(aside_cloud_api::codec::GROUP) {
            return Err(damaged(format!("a hidden size of {hidden}")));
        }
        let offsets = metadata.info("head").ok_or_else(|| damaged("it has no head".into()))?.data_offsets;
        let start = 8 + header;
        let rows = start + offsets.0..start + offsets.1;
        let raw = bytes.get(rows.clone()).ok_or_else(|| damaged("its head is cut off".into()))?;
        let head = Head::from_q8_0(raw, vocab, hidden).map_err(|error| damaged(error.to_string()))?;
        let model = text("model")?;
        let starter = match metadata.info("starter").map(|info| info.data_offsets) {
            None => None,
            Some((from, to)) => {
                let raw = bytes.get(start + from..start + to).unwrap_or_default().to_vec();
                let starter = Starter::from_bytes(&raw).map_err(|error| damaged(error.to_string()))?;
                if (starter.model(), starter.hidden()) != (&model, hidden) {
                    return Err(damaged("its starter is of another backbone".into()));
                }
                let text = &starter.generic().sequences;
                let window = number("window")?;
                if text.iter().any(|s| s.len() > window || s.iter().any(|id| *id as usize >= vocab)) {
                    return Err(damaged("its generic text is of another backbone".into()));
                }
                Some((starter, raw))
            }
        };
        let stop: Vec<u32> =
            serde_json::from_str(&text("stop")?).map_err(|_| damaged("its stop ids".into()))?;
        Ok(Self {
            sha256: sha256.to_owned(),
            rows,
            starter,
            head,
            tokens: Tokens::new(&text("tokenizer")?)?,
            template: Template::new(text("chat_template")?, text("bos")?)?,
            stop,
            layout,
            vocab,
            window: number("window")?,
            context: number("context")?,
            model,
            name: text("name")?,
            bytes: Arc::clone(&bytes),
        })
    }

    /// Content address, lower-case hex SHA-256.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Identity of the backbone.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The backbone's name for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device's copy of W.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// W as raw Q8_0 rows, for the trainer.
    #[must_use]
    pub fn head_rows(&self) -> &[u8] {
        self.bytes.get(self.rows.clone()).unwrap_or_default()
    }

    /// What a device begins with, where the backbone was prepared.
    #[must_use]
    pub fn starter(&self) -> Option<&Starter> {
        self.starter.as_ref().map(|(starter, _)| starter)
    }

    /// The same as bytes, for a training.
    #[must_use]
    pub fn starter_bytes(&self) -> Option<&[u8]> {
        self.starter.as_ref().map(|(_, bytes)| bytes.as_slice())
    }

    /// Ids that end an answer.
    #[must_use]
    pub fn stop(&self) -> &[u32] {
        &self.stop
    }

    /// How states travel.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// V.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// H.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.layout.hidden
    }

    /// Length in tokens that the backbone was trained on.
    #[must_use]
    pub fn window(&self) -> usize {
        self.window
    }

    /// Longest sequence in tokens.
    #[must_use]
    pub fn context(&self) -> usize {
        self.context
    }

    /// Sizes of an adapter for this backbone.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape {
            hidden: self.layout.hidden,
            vocab: self.vocab,
            layer_taps: self.layout.layer_taps,
            rank: Shape::rank_for(self.layout.hidden),
        }
    }

    /// Starts turning an answer's ids into text.
    #[must_use]
    pub fn detokenizer(&self) -> Detokenizer<'_> {
        Detokenizer::new(&self.tokens)
    }
}

impl std::fmt::Debug for Kit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kit({} {})", self.name, self.sha256)
    }
}
