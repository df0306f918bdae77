//! Turns a file that the user imports into conversations. Pure: bytes in, conversations and a count of what was left
//! out come back; nothing is written here.

mod chat;
mod export;
mod mbox;
mod prose;

use serde::{Deserialize, Serialize};

/// Who said a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// Instructions to the model; context only, never a lesson.
    System,
    /// The user's own turn.
    User,
    /// A reply.
    Assistant,
}

impl Role {
    /// The word used in chat templates and files.
    #[must_use]
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// Who said it.
    pub(super) role: Role,
    /// What was said.
    pub(super) content: String,
}

impl crate::kit::Said for Line {
    fn role(&self) -> &str {
        self.role.as_str()
    }

    fn content(&self) -> &str {
        &self.content
    }
}

/// How a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Chat JSON Lines: one object with `messages` a line.
    Chat,
    /// Plain text: the user's own words, paragraph by paragraph.
    Text,
    /// Markdown: like text, without the marks that carry no words.
    Markdown,
    /// ChatGPT's export, `conversations.json`.
    ChatGpt,
    /// Claude's export, `conversations.json`.
    Claude,
    /// A mailbox: what its owner wrote.
    Mbox,
}

impl Format {
    /// The word shown to the user.
    #[must_use]
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Text => "text",
            Self::Markdown => "markdown",
            Self::ChatGpt => "chatgpt",
            Self::Claude => "claude",
            Self::Mbox => "mbox",
        }
    }
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Import {
    /// How it was read.
    pub(super) format: Format,
    /// Conversations with at least one turn each, in the file's order.
    pub(super) conversations: Vec<Vec<Line>>,
    /// Lines left out because they are damaged.
    pub(super) skipped: usize,
    /// Why the first of these was; empty when none was.
    pub(super) skipped_why: String,
}

/// Why a file gives no lesson.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ImportError {
    /// Beyond [`LARGEST`].
    #[error("{name} has {bytes} bytes; a file may have up to {LARGEST}. Split it and learn the parts")]
    TooLarge {
        /// The file's name.
        name: String,
        /// Its size.
        bytes: usize,
    },
    /// Not UTF-8.
    #[error("{name} is not UTF-8 text (byte {at}). Convert it, for example with iconv -t UTF-8")]
    NotText {
        /// The file's name.
        name: String,
        /// Offset of the first bad byte.
        at: usize,
    },
    /// Every line was damaged.
    #[error("{name} holds no conversation that can be read; {why}")]
    Nothing {
        /// The file's name.
        name: String,
        /// Why the first line was left out.
        why: String,
    },
    /// No words in it.
    #[error("{name} holds no text")]
    Empty {
        /// The file's name.
        name: String,
    },
}

/// Largest file, in bytes.
pub(super) const LARGEST: usize = 64 << 20;

/// Reads a file by its content, and by its name where the content leaves it open.
///
/// # Errors
/// [`ImportError`] when nothing in it can be learned.
pub(super) fn read(name: &str, content: &[u8]) -> Result<Import, ImportError> {
    if content.len() > LARGEST {
        return Err(ImportError::TooLarge { name: name.into(), bytes: content.len() });
    }
    // A mailbox brings its own encodings.
    let import = if mbox::is(content) { mbox::read(content) } else { text(name, content)? };
    match import {
        import if !import.conversations.is_empty() => Ok(import),
        import if import.skipped > 0 => {
            Err(ImportError::Nothing { name: name.into(), why: import.skipped_why })
        }
        _ => Err(ImportError::Empty { name: name.into() }),
    }
}

fn text(name: &str, content: &[u8]) -> Result<Import, ImportError> {
    let text = std::str::from_utf8(content)
        .map_err(|e| ImportError::NotText { name: name.into(), at: e.valid_up_to() })?;
    let text = text.trim_start_matches('\u{feff}');
    Ok(if let Some(export) = export::read(text) {
        export
    } else if is_chat(name, text) {
        chat::read(text)
    } else {
        let format = if is_markdown(name) { Format::Markdown } else { Format::Text };
        prose::read(format, text)
    })
}

fn is_chat(name: &str, text: &str) -> bool {
    let named = [".jsonl", ".ndjson"].iter().any(|end| name.to_ascii_lowercase().ends_with(end));
    named || text.lines().find(|l| !l.trim().is_empty()).is_some_and(|l| chat::conversation(l).is_ok())
}

fn is_markdown(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with(".md") || name.ends_with(".markdown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_text_and_what_is_empty() {
        assert_eq!(read("a.txt", b"ab\xff"), Err(ImportError::NotText { name: "a.txt".into(), at: 2 }));
        assert_eq!(read("a.txt", b" \n\n"), Err(ImportError::Empty { name: "a.txt".into() }));
        assert!(matches!(read("a.jsonl", b"{\n{"), Err(ImportError::Nothing { .. })));
    }

    #[test]
    fn chat_is_known_by_its_content() {
        let line = br#"{"messages":[{"role":"user","content":"hello"}]}"#;
        assert_eq!(read("notes", line).unwrap().format, Format::Chat);
        assert_eq!(read("notes", b"{not chat}").unwrap().format, Format::Text);
        assert_eq!(read("NOTES.MD", b"# hi").unwrap().format, Format::Markdown);
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_never_gives_an_empty_conversation(content: Vec<u8>, chat: bool) {
            if let Ok(import) = read(if chat { "x.jsonl" } else { "x.md" }, &content) {
                proptest::prop_assert!(!import.conversations.is_empty());
                for conversation in import.conversations {
                    proptest::prop_assert!(conversation.iter().any(|l| !l.content.trim().is_empty()));
                }
            }
        }
    }
}
