//! The tokenizer, twice: once for the template's text, where special tokens count, and once for what people and files
//! say, where nothing does.

use serde_json::Value;
use tokenizers::Tokenizer;

use super::KitError;

/// Ids to text and back.
pub(super) struct Tokens {
    framed: Tokenizer,
    plain: Tokenizer,
    /// Whether a token's text is a string of byte characters (byte-level BPE).
    pub(super) byte_level: bool,
}

impl Tokens {
    /// From the text of a `tokenizer.json`.
    pub(super) fn new(json: &str) -> Result<Self, KitError> {
        let damaged = |why: String| KitError::Damaged(format!("tokenizer: {why}"));
        let mut value: Value = serde_json::from_str(json).map_err(|error| damaged(error.to_string()))?;
        let byte_level = has_byte_level(value.get("decoder"));
        let load = |text: &str| text.parse::<Tokenizer>().map_err(|error| damaged(error.to_string()));
        let framed = load(json)?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("added_tokens".into(), Value::Array(Vec::new()));
            fields.insert("post_processor".into(), Value::Null);
        }
        let plain = load(&value.to_string())?;
        Ok(Self { framed, plain, byte_level })
    }

    /// Ids of the template's own text.
    pub(super) fn frame(&self, text: &str) -> Result<Vec<u32>, KitError> {
        ids(&self.framed, text)
    }

    /// Ids of message text; "<|end|>" in it is seven ordinary characters.
    pub(super) fn content(&self, text: &str) -> Result<Vec<u32>, KitError> {
        ids(&self.plain, text)
    }

    /// Text of a token as the vocabulary has it; none for special and unknown ones.
    pub(super) fn piece(&self, id: u32) -> Option<String> {
        let special = self.framed.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special);
        if special { None } else { self.framed.id_to_token(id) }
    }

    /// Whether the vocabulary's text of this token is its text as it is.
    pub(super) fn is_added(&self, id: u32) -> bool {
        self.framed.get_added_tokens_decoder().contains_key(&id)
    }

    /// Text of several ids, special ones left out.
    pub(super) fn decode(&self, ids: &[u32]) -> String {
        self.framed.decode(ids, true).unwrap_or_default()
    }
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, KitError> {
    let encoding =
        tokenizer.encode_fast(text, false).map_err(|error| KitError::Tokenizer(error.to_string()))?;
    Ok(encoding.get_ids().to_vec())
}

fn has_byte_level(decoder: Option<&Value>) -> bool {
    let Some(decoder) = decoder else { return false };
    let kind = decoder.get("type").and_then(Value::as_str);
    let parts = decoder.get("decoders").and_then(Value::as_array);
    kind == Some("ByteLevel")
        || parts.is_some_and(|parts| parts.iter().any(|part| has_byte_level(Some(part))))
}
