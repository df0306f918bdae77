//! Ids to text, one token at a time. A token may end inside a character: its text is then empty, and the token that
//! completes the character has it. The texts of all tokens together are the answer.

use super::tokens::Tokens;

/// Tokens after which an unfinished end is taken as it is: no character has more bytes.
const LONGEST: usize = 4;

/// State of one answer.
pub struct Detokenizer<'a> {
    tokens: &'a Tokens,
    /// Bytes of a character that is not complete (byte-level), at most three.
    bytes: Vec<u8>,
    /// Other tokenizers: the ids told last, then those that are not told yet.
    ids: Vec<u32>,
    /// How many of them are told.
    told: usize,
}

impl<'a> Detokenizer<'a> {
    pub(super) fn new(tokens: &'a Tokens) -> Self {
        Self { tokens, bytes: Vec::new(), ids: Vec::new(), told: 0 }
    }

    /// The text that is complete with this token; special tokens have none.
    pub fn push(&mut self, id: u32) -> String {
        if self.tokens.byte_level { self.push_bytes(id) } else { self.push_decoded(id) }
    }

    fn push_bytes(&mut self, id: u32) -> String {
        let Some(piece) = self.tokens.piece(id) else { return String::new() };
        if self.tokens.is_added(id) {
            self.bytes.extend_from_slice(piece.as_bytes());
        } else {
            for c in piece.chars() {
                match byte_of(c) {
                    Some(byte) => self.bytes.push(byte),
                    None => self.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
        }
        self.complete()
    }

    /// Takes what is whole; bytes that no continuation can save become U+FFFD.
    fn complete(&mut self) -> String {
        let mut text = String::new();
        let mut kept = Vec::new();
        for chunk in self.bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            kept.extend_from_slice(chunk.invalid());
            if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        let unfinished = std::str::from_utf8(&self.bytes).is_err() && self.ends_unfinished();
        if unfinished {
            text.pop();
            let tail = self.bytes.utf8_chunks().last().map_or(0, |chunk| chunk.invalid().len());
            self.bytes = self.bytes.split_off(self.bytes.len().saturating_sub(tail));
        } else {
            self.bytes.clear();
        }
        text
    }

    /// Whether the end could become a character with more bytes.
    fn ends_unfinished(&self) -> bool {
        let mut rest = self.bytes.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(_) => return false,
                Err(error) => match error.error_len() {
                    None => return true,
                    Some(bad) => rest = rest.get(error.valid_up_to() + bad..).unwrap_or_default(),
                },
            }
        }
    }

    /// Other tokenizers: what the text grew by, as long as its end is whole. The tokens told last stay as context,
    /// because some decoders treat a first token or a run of bytes as one.
    fn push_decoded(&mut self, id: u32) -> String {
        if self.tokens.piece(id).is_none() {
            return String::new();
        }
        self.ids.push(id);
        let before = self.tokens.decode(self.ids.get(..self.told).unwrap_or_default());
        let now = self.tokens.decode(&self.ids);
        let waiting = self.ids.len().saturating_sub(self.told);
        if now.ends_with(char::REPLACEMENT_CHARACTER) && waiting < LONGEST {
            return String::new();
        }
        self.ids.drain(..self.told);
        self.told = self.ids.len();
        now.strip_prefix(before.as_str()).unwrap_or_default().to_owned()
    }
}

/// The byte that a character of byte-level BPE stands for (GPT-2's table).
fn byte_of(c: char) -> Option<u8> {
    let code = u32::from(c);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u8::try_from(code).ok(),
        // The others follow from 256 in order: 0..=32, 127..=160, 173.
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 127).ok(),
        0x143 => Some(173),
        _ => None,
    }
}
