//! Conversations as token ids: prompts that fit the context, and lessons with the range of every message.

use std::ops::Range;

use super::template::Piece;
use super::{Kit, KitError};

/// Something with a role and a text.
pub trait Said {
    /// "system", "user" or "assistant".
    fn role(&self) -> &str;
    /// What was said.
    fn content(&self) -> &str;
}

/// One message of a conversation.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// "system", "user" or "assistant".
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A message.
    #[must_use]
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: content.into() }
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Message({}, {} bytes)", self.role, self.content.len())
    }
}

impl Said for Message {
    fn role(&self) -> &str {
        &self.role
    }

    fn content(&self) -> &str {
        &self.content
    }
}

/// A whole conversation in ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// All tokens.
    pub ids: Vec<u32>,
    /// For each message its targets: the tokens of its text and, where the template sets one, the end token after it.
    /// Empty for a message that the template leaves out.
    pub spans: Vec<Range<usize>>,
}

/// What an answer goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The tokens, up to where the answer begins.
    pub ids: Vec<u32>,
    /// Messages left out because they do not fit.
    pub cut: usize,
}

impl Kit {
    /// A whole conversation, without a place for an answer.
    ///
    /// # Errors
    /// [`KitError::Template`] when the template refuses it.
    pub fn encode_conversation<M: Said>(&self, messages: &[M]) -> Result<Encoded, KitError> {
        let contents = self.contents(messages)?;
        let roles: Vec<&str> = messages.iter().map(Said::role).collect();
        self.assemble(&roles, &contents, false)
    }

    /// The prompt for an answer of up to `max_tokens`: the system message and the newest whole turns that fit.
    ///
    /// # Errors
    /// [`KitError::TooLong`] when not even the newest turn fits, [`KitError::Template`] when the template refuses.
    pub fn prompt<M: Said>(&self, messages: &[M], max_tokens: usize) -> Result<Prompt, KitError> {
        let contents = self.contents(messages)?;
        let roles: Vec<&str> = messages.iter().map(Said::role).collect();
        // An answer gets the room it wants, but never more than half.
        let limit = self.context - max_tokens.clamp(1, (self.context / 2).max(1));
        let system = usize::from(roles.first() == Some(&"system"));
        let mut first = system;
        loop {
            let keep = |i: usize| i < system || i >= first;
            let kept_roles: Vec<&str> = pick(&roles, keep);
            let kept: Vec<Vec<u32>> = pick(&contents, keep);
            let ids = self.assemble(&kept_roles, &kept, true)?.ids;
            if ids.len() <= limit {
                return Ok(Prompt { ids, cut: first - system });
            }
            // A turn begins with a question.
            let next = (first + 1..roles.len()).find(|i| roles.get(*i) == Some(&"user"));
            match next {
                Some(next) => first = next,
                None => return Err(KitError::TooLong { tokens: ids.len(), limit }),
            }
        }
    }

    /// Whether this id ends an answer.
    #[must_use]
    pub fn is_stop(&self, id: u32) -> bool {
        self.stop.contains(&id)
    }

    fn contents<M: Said>(&self, messages: &[M]) -> Result<Vec<Vec<u32>>, KitError> {
        let text = |m: &M| {
            if self.template.trims() { m.content().trim().to_owned() } else { m.content().to_owned() }
        };
        messages.iter().map(|m| self.tokens.content(&text(m))).collect()
    }

    fn assemble(&self, roles: &[&str], contents: &[Vec<u32>], reply: bool) -> Result<Encoded, KitError> {
        let mut out = Encoded { ids: Vec::new(), spans: vec![0..0; roles.len()] };
        let mut open: Option<usize> = None;
        for piece in self.template.render(roles, reply)? {
            match piece {
                Piece::Content(number) => {
                    let content = contents.get(number).map(Vec::as_slice).unwrap_or_default();
                    let start = out.ids.len();
                    out.ids.extend_from_slice(content);
                    if let Some(span) = out.spans.get_mut(number) {
                        *span = start..out.ids.len();
                    }
                    open = Some(number);
                }
                Piece::Frame(text) => {
                    let ids = self.tokens.frame(&text)?;
                    let ended = ids.first().is_some_and(|id| self.is_stop(*id));
                    if let Some(span) = open.take().filter(|_| ended).and_then(|n| out.spans.get_mut(n)) {
                        span.end += 1;
                    }
                    out.ids.extend(ids);
                }
            }
        }
        Ok(out)
    }
}

fn pick<T: Clone>(all: &[T], keep: impl Fn(usize) -> bool) -> Vec<T> {
    all.iter().enumerate().filter(|(i, _)| keep(*i)).map(|(_, item)| item.clone()).collect()
}
