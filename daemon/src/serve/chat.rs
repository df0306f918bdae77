//! Conversations in the vault: what a question is stored as, what the model is shown, what history tells.

use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{self, AskRequest, ConversationHead, RateRequest, Source, Span, SwitchRequest};

use super::ask::finished;
use crate::cloud::random;
use crate::faults::blocking;
use crate::kit::Message;
use crate::now;
use crate::vault::{Begun, ConversationRow, MessageRow, Switches, TokenMark, Vault};

/// Characters of a title.
const TITLE: usize = 60;
/// Conversations listed when the front end sets no limit.
const LISTED: u32 = 200;

/// Rows of a question and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) conversation: i64,
    pub(super) question: i64,
    pub(super) answer: i64,
}

/// A question that is safe, and what its answer goes on from.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// None for a private one.
    pub(super) ids: Option<Ids>,
    /// What was said so far, the question last.
    pub(super) messages: Vec<Message>,
    /// Seed of the noise.
    pub(super) seed: u64,
    /// Number of the turn in its conversation.
    pub(super) turn: u32,
    /// Number of the attempt at it.
    pub(super) attempt: u32,
}

/// A question of which nothing is kept.
pub(super) fn private(request: &AskRequest, seed: u64) -> Stored {
    let history = request.history.iter().map(|said| Message::new(&said.role, said.content.clone()));
    let messages: Vec<Message> = history.chain([Message::new("user", request.text.clone())]).collect();
    Stored { ids: None, turn: turn(&messages), messages, seed, attempt: 0 }
}

/// The conversation that is meant: none for a new one.
pub(super) async fn resolve(vault: &Vault, wanted: i64) -> Result<Option<i64>, Fault> {
    let vault = vault.clone();
    match wanted {
        0 => Ok(None),
        -1 => blocking(move || Ok(vault.conversations(1)?.first().map(|newest| newest.id))).await,
        id => blocking(move || vault.conversation(id)).await.map(|row| Some(row.id)),
    }
}

/// Stores the question with an empty answer.
pub(super) async fn store(
    vault: &Vault,
    conversation: Option<i64>,
    request: &AskRequest,
    seed: Option<u64>,
) -> Result<Stored, Fault> {
    if conversation.is_none() && request.regenerate {
        return Err(Fault::new(codes::BAD_REQUEST, "there is no conversation to answer again"));
    }
    let (vault, text, again) = (vault.clone(), request.text.clone(), request.regenerate);
    blocking(move || {
        let id = match conversation {
            Some(id) => id,
            None => vault.start_conversation(&title(&text), seed.unwrap_or_else(random), now())?,
        };
        let own = vault.conversation(id)?.seed;
        let Begun { question, answer, attempt } =
            vault.begin_answer(id, (!again).then_some(text.as_str()), now())?;
        let rows = vault.messages(id)?;
        let messages = shown(&rows, question);
        let ids = Some(Ids { conversation: id, question, answer });
        // Its place in the conversation, also of questions that the model is no longer shown.
        let asked = rows.iter().filter(|row| row.role == "user" && row.id < question).count();
        let turn = u32::try_from(asked).unwrap_or(u32::MAX);
        Ok(Stored { ids, messages, seed: seed.unwrap_or(own), turn, attempt })
    })
    .await
}

/// What the model is shown: questions with their answers, then the question at hand. A question that was never
/// answered is left out, because templates want turns to alternate.
fn shown(rows: &[MessageRow], question: i64) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::new();
    for row in rows.iter().filter(|row| row.id <= question) {
        let unanswered = out.last().is_some_and(|last| last.role == "user");
        if row.role == "user" {
            if unanswered {
                out.pop();
            }
            out.push(Message::new("user", row.text.clone()));
        } else if unanswered && !row.text.is_empty() {
            out.push(Message::new("assistant", row.text.clone()));
        }
    }
    out
}

/// Number of the last question.
fn turn(messages: &[Message]) -> u32 {
    let questions = messages.iter().filter(|message| message.role == "user").count();
    u32::try_from(questions.saturating_sub(1)).unwrap_or(u32::MAX)
}

/// The first line, cut at a word where that is possible.
fn title(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default().trim();
    let cut: String = line.chars().take(TITLE).collect();
    if cut.len() == line.len() {
        return cut;
    }
    let whole = cut.rsplit_once(' ').map_or(cut.as_str(), |(words, _)| words);
    format!("{whole}\u{2026}")
}

/// The newest conversations.
pub(super) async fn list(vault: Vault, limit: u32) -> Result<Vec<ConversationHead>, Fault> {
    let limit = if limit == 0 { LISTED } else { limit };
    let rows = blocking(move || vault.conversations(limit)).await?;
    Ok(rows.iter().map(head).collect())
}

/// One conversation with its messages and its draft; 0 is the one not started yet.
pub(super) async fn get(vault: Vault, id: i64) -> Result<proto::Conversation, Fault> {
    blocking(move || {
        let draft = vault.draft(id)?;
        if id == 0 {
            return Ok(proto::Conversation { head: None, messages: Vec::new(), draft });
        }
        let row = vault.conversation(id)?;
        let messages = vault.messages(id)?.into_iter().map(message).collect();
        Ok(proto::Conversation { head: Some(head(&row)), messages, draft })
    })
    .await
}

/// Keeps what the person thinks of the last answer.
pub(super) async fn rate(vault: &Vault, request: RateRequest) -> Result<i64, Fault> {
    let RateRequest { conversation, rating, text } = request;
    let bad = |why: &str| Err(Fault::new(codes::BAD_REQUEST, why));
    match rating.as_str() {
        "edited" if text.trim().is_empty() => return bad("an edited answer says something"),
        "" | "good" | "bad" | "edited" => {}
        _ => return bad("an answer is good, bad or edited"),
    }
    let id = existing(vault, conversation).await?;
    let vault = vault.clone();
    blocking(move || {
        let edited = (rating == "edited").then_some(text.as_str());
        vault.rate(id, &rating, edited, now())
    })
    .await
}

/// Sets what may happen with a conversation, and tells how it stands.
pub(super) async fn switch(vault: &Vault, request: SwitchRequest) -> Result<ConversationHead, Fault> {
    let id = existing(vault, request.conversation).await?;
    let vault = vault.clone();
    blocking(move || {
        let Switches { learn, use_adapter } = vault.conversation(id)?.switches;
        let (learn, use_adapter) =
            (request.learn.unwrap_or(learn), request.use_adapter.unwrap_or(use_adapter));
        vault.set_switches(id, Switches { learn, use_adapter })?;
        Ok(head(&vault.conversation(id)?))
    })
    .await
}

/// The conversation that is meant, which must be there.
async fn existing(vault: &Vault, wanted: i64) -> Result<i64, Fault> {
    let found = resolve(vault, wanted).await?;
    found.ok_or_else(|| Fault::new(codes::NOT_FOUND, "there is no conversation yet"))
}

fn head(row: &ConversationRow) -> ConversationHead {
    ConversationHead {
        id: row.id,
        title: row.title.clone(),
        created: row.created,
        updated: row.updated,
        messages: row.messages,
        learn: row.switches.learn,
        use_adapter: row.switches.use_adapter,
    }
}

fn message(row: MessageRow) -> proto::Message {
    proto::Message {
        id: row.id,
        role: row.role,
        created: row.created,
        interrupted: row.interrupted,
        rating: row.rating,
        spans: row.marks.iter().filter(|mark| mark.end > mark.start).map(span).collect(),
        done: row.stats.as_ref().map(|stats| finished(&row.text, stats)),
        text: row.text,
    }
}

fn span(mark: &TokenMark) -> Span {
    let source = if mark.side { Source::Side } else { Source::Base };
    Span { start: mark.start, end: mark.end, source: source.into(), changed: mark.changed, p: mark.p }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, role: &str, text: &str) -> MessageRow {
        MessageRow {
            id,
            role: role.into(),
            text: text.into(),
            created: 0,
            attempt: 0,
            interrupted: false,
            rating: String::new(),
            marks: Vec::new(),
            stats: None,
        }
    }

    #[test]
    fn unanswered_questions_are_not_shown() {
        let rows = [
            row(1, "user", "a"),
            row(2, "assistant", ""),
            row(3, "user", "b"),
            row(4, "assistant", "B"),
            row(5, "user", "c"),
            row(6, "assistant", "an earlier answer"),
        ];
        let said: Vec<String> = shown(&rows, 5).into_iter().map(|m| m.content).collect();
        assert_eq!(said, ["b", "B", "c"]);
    }

    #[test]
    fn titles_are_one_short_line() {
        assert_eq!(title("  hello\nworld"), "hello");
        let long = title(&"\u{e4}bc ".repeat(40));
        assert!(long.chars().count() <= TITLE + 1 && long.ends_with("\u{e4}bc\u{2026}"), "{long}");
        assert_eq!(title(&"x".repeat(100)).chars().count(), TITLE + 1);
    }
}
