//! Conversations, messages, answers that survive a crash, drafts.

use super::marks::{self, TokenMark};
use super::{Result, Vault, VaultError};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// What is known of a conversation without its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationRow {
    /// Row id, from 1.
    pub id: i64,
    /// First words of its first question.
    pub title: String,
    /// Unix seconds.
    pub created: i64,
    /// Unix seconds.
    pub updated: i64,
    /// Seed of its noise.
    pub seed: u64,
    /// Number of messages.
    pub messages: u32,
    /// See [`Switches`].
    pub switches: Switches,
}

/// What may happen with a conversation that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    /// It may be learned from.
    pub learn: bool,
    /// The adapter may take part in its answers.
    pub use_adapter: bool,
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageRow {
    /// Row id.
    pub id: i64,
    /// `user` or `assistant`.
    pub role: String,
    /// Its text.
    pub text: String,
    /// Unix seconds.
    pub created: i64,
    /// Number of the attempt at this turn.
    pub attempt: u32,
    /// Ended early by a cancel or a crash.
    pub interrupted: bool,
    /// What the person thinks of it: "", "good", "bad" or "edited".
    pub rating: String,
    /// Provenance; empty for questions.
    pub marks: Vec<TokenMark>,
    /// Measured when the answer was finished.
    pub stats: Option<AnswerStats>,
}

/// What one answer took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "counts and microseconds, named as on screen")]
pub struct AnswerStats {
    pub tokens: u64,
    pub open: u64,
    pub side: u64,
    pub changed: u64,
    pub transmissions: u64,
    pub cloud_us: u64,
    pub device_us: u64,
    pub net_us: u64,
    pub bytes_up: u64,
    pub bytes_down: u64,
    pub adapter: u64,
    pub reason: String,
}

/// A question with the place for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// The question's row id.
    pub question: i64,
    /// The answer's row id.
    pub answer: i64,
    /// Number of the attempt at it.
    pub attempt: u32,
}

const CONVERSATION: &str = "SELECT id, title, created, updated, seed,
    (SELECT count(*) FROM message m WHERE m.conversation = c.id AND m.attempt = 0), learn, use_adapter
    FROM conversation c";

fn conversation_row(r: &Row<'_>) -> rusqlite::Result<ConversationRow> {
    Ok(ConversationRow {
        id: r.get(0)?,
        title: r.get(1)?,
        created: r.get(2)?,
        updated: r.get(3)?,
        seed: r.get::<_, i64>(4)?.cast_unsigned(),
        messages: r.get(5)?,
        switches: Switches { learn: r.get(6)?, use_adapter: r.get(7)? },
    })
}

impl Vault {
    /// A new conversation; its id.
    ///
    /// # Errors
    /// [`VaultError`], as for every call here.
    pub fn start_conversation(&self, title: &str, seed: u64, now: i64) -> Result<i64> {
        self.write("conversation", |t| {
            t.execute(
                "INSERT INTO conversation(title, created, updated, seed) VALUES(?1, ?2, ?2, ?3)",
                params![title, now, seed.cast_signed()],
            )?;
            Ok(t.last_insert_rowid())
        })
    }

    /// The newest ones first, `limit` at most.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn conversations(&self, limit: u32) -> Result<Vec<ConversationRow>> {
        self.read(|c| {
            let mut rows = c.prepare(&format!("{CONVERSATION} ORDER BY updated DESC, id DESC LIMIT ?1"))?;
            Ok(rows.query_map([limit], conversation_row)?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// One conversation.
    ///
    /// # Errors
    /// [`VaultError::NotFound`].
    pub fn conversation(&self, id: i64) -> Result<ConversationRow> {
        self.read(|c| {
            let row =
                c.query_row(&format!("{CONVERSATION} WHERE id = ?1"), [id], conversation_row).optional()?;
            row.ok_or_else(|| VaultError::NotFound(format!("conversation {id}")))
        })
    }

    /// Its messages in order; of several answers to a question the last one that says something.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn messages(&self, conversation: i64) -> Result<Vec<MessageRow>> {
        self.read(|c| messages(c, conversation))
    }

    /// Deletes a conversation with its messages, draft and lessons; freed pages are overwritten.
    ///
    /// # Errors
    /// [`VaultError::NotFound`].
    pub fn delete_conversation(&self, id: i64) -> Result<()> {
        self.write("delete", |t| {
            t.execute("DELETE FROM draft WHERE conversation = ?1", [id])?;
            match t.execute("DELETE FROM conversation WHERE id = ?1", [id])? {
                0 => Err(VaultError::NotFound(format!("conversation {id}"))),
                _ => Ok(()),
            }
        })?;
        // The log still holds the pages as they were; it is emptied now, or at a later checkpoint.
        let _ = self.checkpoint_wal();
        Ok(())
    }

    /// A question (`None` answers the last one again) and its empty answer, in one commit. Until it is finished the
    /// answer counts as interrupted; until it says something, an earlier one stands.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] when there is no question to answer again.
    pub fn begin_answer(&self, conversation: i64, question: Option<&str>, now: i64) -> Result<Begun> {
        self.write("question", |t| {
            let (question, attempt) = match question {
                Some(text) => {
                    t.execute(
                        "INSERT INTO message(conversation, role, text, created) VALUES(?1, 'user', ?2, ?3)",
                        params![conversation, text, now],
                    )?;
                    (t.last_insert_rowid(), 0)
                }
                None => again(t, conversation)?,
            };
            t.execute(
                "INSERT INTO message(conversation, role, text, created, attempt, interrupted)
                 VALUES(?1, 'assistant', '', ?2, ?3, 1)",
                params![conversation, now, attempt],
            )?;
            let answer = t.last_insert_rowid();
            t.execute("UPDATE conversation SET updated = ?2 WHERE id = ?1", params![conversation, now])?;
            Ok(Begun { question, answer, attempt })
        })
    }

    /// Saves what an answer holds so far.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn append_answer(&self, answer: i64, text: &str, marks: &[TokenMark]) -> Result<()> {
        self.write("answer", |t| {
            let changed = t.execute(
                "UPDATE message SET text = ?2, marks = ?3 WHERE id = ?1",
                params![answer, text, marks::to_bytes(marks)],
            )?;
            there(changed, answer)
        })
    }

    /// The whole answer with what it took.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn finish_answer(
        &self,
        answer: i64,
        text: &str,
        marks: &[TokenMark],
        stats: &AnswerStats,
        interrupted: bool,
        now: i64,
    ) -> Result<()> {
        let n = |v: u64| v.cast_signed();
        self.write("answered", |t| {
            let changed = t.execute(
                "UPDATE message SET text = ?2, marks = ?3, interrupted = ?4, tokens = ?5, open = ?6, side = ?7,
                 changed = ?8, transmissions = ?9, cloud_us = ?10, device_us = ?11, net_us = ?12, bytes_up = ?13,
                 bytes_down = ?14, adapter = ?15, reason = ?16 WHERE id = ?1",
                params![
                    answer,
                    text,
                    marks::to_bytes(marks),
                    interrupted,
                    n(stats.tokens),
                    n(stats.open),
                    n(stats.side),
                    n(stats.changed),
                    n(stats.transmissions),
                    n(stats.cloud_us),
                    n(stats.device_us),
                    n(stats.net_us),
                    n(stats.bytes_up),
                    n(stats.bytes_down),
                    n(stats.adapter),
                    stats.reason
                ],
            )?;
            t.execute(
                "UPDATE conversation SET updated = ?2 WHERE id = (SELECT conversation FROM message WHERE id = ?1)",
                params![answer, now],
            )?;
            there(changed, answer)
        })
    }

    /// Sets what may happen with a conversation.
    ///
    /// # Errors
    /// [`VaultError::NotFound`].
    pub fn set_switches(&self, id: i64, switches: Switches) -> Result<()> {
        let Switches { learn, use_adapter } = switches;
        self.write("switches", |t| {
            let set = "UPDATE conversation SET learn = ?2, use_adapter = ?3 WHERE id = ?1";
            match t.execute(set, params![id, learn, use_adapter])? {
                0 => Err(VaultError::NotFound(format!("conversation {id}"))),
                _ => Ok(()),
            }
        })
    }

    /// What the person thinks of the last answer of a conversation; an edited text takes its place, and nobody but the
    /// person chose its words then. Gives the answer's id.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] without an answer.
    pub fn rate(&self, conversation: i64, rating: &str, edited: Option<&str>, now: i64) -> Result<i64> {
        self.write("rating", |t| {
            let last = messages(t, conversation)?.pop();
            let answer = last.filter(|m| m.role != "user" && !m.text.is_empty()).map(|m| m.id);
            let answer = answer.ok_or_else(|| VaultError::NotFound("an answer to rate".into()))?;
            t.execute("UPDATE message SET rating = ?2 WHERE id = ?1", params![answer, rating])?;
            if let Some(text) = edited {
                t.execute(
                    "UPDATE message SET text = ?2, marks = x'', interrupted = 0 WHERE id = ?1",
                    params![answer, text],
                )?;
                t.execute("DELETE FROM shipped WHERE message = ?1", [answer])?;
            }
            // It is taken in again, with another weight.
            t.execute("UPDATE conversation SET updated = ?2 WHERE id = ?1", params![conversation, now])?;
            Ok(answer)
        })
    }

    /// The draft of a conversation; 0 is the one not started yet.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn draft(&self, conversation: i64) -> Result<String> {
        self.read(|c| {
            let sql = "SELECT text FROM draft WHERE conversation = ?1";
            Ok(c.query_row(sql, [conversation], |r| r.get(0)).optional()?.unwrap_or_default())
        })
    }

    /// Keeps a draft; an empty one goes.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn save_draft(&self, conversation: i64, text: &str) -> Result<()> {
        self.write("draft", |t| {
            t.execute("DELETE FROM draft WHERE conversation = ?1", [conversation])?;
            if !text.is_empty() {
                t.execute(
                    "INSERT INTO draft(conversation, text) VALUES(?1, ?2)",
                    params![conversation, text],
                )?;
            }
            Ok(())
        })
    }
}

/// An answer whose conversation was deleted meanwhile has no row.
fn there(changed: usize, answer: i64) -> Result<()> {
    if changed == 0 { Err(VaultError::NotFound(format!("answer {answer}"))) } else { Ok(()) }
}

/// The last question and the next attempt at it.
fn again(t: &rusqlite::Transaction<'_>, conversation: i64) -> Result<(i64, u32)> {
    let question: Option<i64> = t
        .query_row(
            "SELECT id FROM message WHERE conversation = ?1 AND role = 'user' ORDER BY id DESC LIMIT 1",
            [conversation],
            |r| r.get(0),
        )
        .optional()?;
    let question = question.ok_or_else(|| VaultError::NotFound("question to answer again".into()))?;
    let attempt: Option<u32> = t.query_row(
        "SELECT max(attempt) FROM message WHERE conversation = ?1 AND id > ?2",
        params![conversation, question],
        |r| r.get(0),
    )?;
    Ok((question, attempt.map_or(0, |a| a + 1)))
}

fn messages(c: &Connection, conversation: i64) -> Result<Vec<MessageRow>> {
    let mut statement = c.prepare(
        "SELECT id, role, text, created, attempt, interrupted, marks, tokens, open, side, changed, transmissions,
         cloud_us, device_us, net_us, bytes_up, bytes_down, adapter, reason, rating
         FROM message WHERE conversation = ?1 ORDER BY id",
    )?;
    let mut rows = statement.query([conversation])?;
    let mut out: Vec<MessageRow> = Vec::new();
    while let Some(r) = rows.next()? {
        let message = MessageRow {
            id: r.get(0)?,
            role: r.get(1)?,
            text: r.get(2)?,
            created: r.get(3)?,
            attempt: r.get(4)?,
            interrupted: r.get(5)?,
            rating: r.get(19)?,
            marks: marks::from_bytes(&r.get::<_, Vec<u8>>(6)?)?,
            stats: stats(r)?,
        };
        match out.last_mut() {
            // Another attempt at the same question.
            Some(MessageRow { role, text, .. }) if message.attempt > 0 && role != "user" => {
                if !message.text.is_empty() || text.is_empty() {
                    out.pop();
                    out.push(message);
                }
            }
            _ => out.push(message),
        }
    }
    Ok(out)
}

fn stats(r: &Row<'_>) -> Result<Option<AnswerStats>> {
    let Some(tokens) = r.get::<_, Option<i64>>(7)? else { return Ok(None) };
    let n = |column: usize| r.get::<_, i64>(column).map(i64::cast_unsigned);
    Ok(Some(AnswerStats {
        tokens: tokens.cast_unsigned(),
        open: n(8)?,
        side: n(9)?,
        changed: n(10)?,
        transmissions: n(11)?,
        cloud_us: n(12)?,
        device_us: n(13)?,
        net_us: n(14)?,
        bytes_up: n(15)?,
        bytes_down: n(16)?,
        adapter: n(17)?,
        reason: r.get(18)?,
    }))
}
