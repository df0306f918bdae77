//! Lessons and their cached states.

use super::{Result, Vault, meta_number, put_meta};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::collections::BTreeSet;

/// Changes with the cached states.
const MARK: &str = "states.mark";
/// Newest lesson that a rollback hides from the memory; 0 when nothing was rolled back.
pub(super) const HIDDEN: &str = "adapter.hidden";

/// States of a turn: its number, tokens, and one codec state per token.
pub type ShippedTurn = (u32, Vec<u32>, Vec<u8>);

/// What is known of a lesson without its states.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LessonSize {
    /// Row id.
    pub id: i64,
    /// Weight of the lesson.
    pub weight: f64,
    /// 0 train, 1 early stop, 2 held out.
    pub part: u8,
    /// Tokens with states.
    pub tokens: usize,
    /// Size of its cached states.
    pub bytes: usize,
    /// Of a conversation of the chat; else imported.
    pub chat: bool,
}

/// A lesson with its cached states.
#[derive(Debug, Clone, PartialEq)]
pub struct LessonRow {
    /// Row id.
    pub id: i64,
    /// Its source: a whole conversation.
    pub source: i64,
    /// Said by the user.
    pub own: bool,
    /// Weight of the lesson.
    pub weight: f64,
    /// 0 train, 1 early stop, 2 held out.
    pub part: u8,
    /// Tokens.
    pub targets: Vec<u32>,
    /// One codec state per token.
    pub states: Vec<u8>,
}

impl Vault {
    /// Lessons with states that are newer than a version, its memory's next rows. Those that were there when it was
    /// rolled back to are none: a rollback hides them.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn lessons_since(&self, version: u64, model: &str) -> Result<Vec<LessonSize>> {
        let query = "SELECT ifnull(max(watermark), 0) FROM adapter WHERE version = ?1";
        let after = self.read(|c| {
            let watermark: i64 = c.query_row(query, [version.cast_signed()], |r| r.get(0))?;
            Ok(watermark.max(meta_number(c, HIDDEN)?))
        })?;
        Ok(self.lesson_sizes(model)?.into_iter().filter(|l| l.id > after).collect())
    }

    /// Changes whenever lessons get their states or lose them.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn states_mark(&self) -> Result<i64> {
        self.read(|c| meta_number(c, MARK))
    }

    /// How many of these turns, by the hash of a message with the one before it, are lessons.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn turns_known(&self, contents: &[Vec<u8>]) -> Result<usize> {
        self.read(|c| {
            let mut statement = c.prepare("SELECT 1 FROM lesson WHERE content = ?1 LIMIT 1")?;
            let mut known = 0;
            for content in contents {
                known += usize::from(statement.exists([content])?);
            }
            Ok(known)
        })
    }

    /// Caches the states of a source's lessons, all in one transaction: (lesson id, targets, states).
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn put_states(&self, model: &str, states: &[(i64, Vec<u32>, Vec<u8>)]) -> Result<()> {
        self.write("states", |t| {
            let mut insert = t.prepare(
                "INSERT INTO state(lesson, model, targets, states) VALUES(?1, ?2, ?3, ?4)
                 ON CONFLICT(lesson, model) DO UPDATE SET targets = excluded.targets, states = excluded.states,
                 evicted = 0",
            )?;
            let used = "DELETE FROM shipped WHERE message = (SELECT message FROM lesson WHERE id = ?1)";
            let mut used = t.prepare(used)?;
            for (lesson, targets, states) in states {
                insert.execute(params![lesson, model, id_bytes(targets), states])?;
                used.execute([lesson])?;
            }
            mark_states(t)
        })
    }

    /// Keeps the states of an answer that chat shipped whole.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn put_shipped(&self, answer: i64, model: &str, targets: &[u32], states: &[u8]) -> Result<()> {
        self.write("shipped", |t| {
            t.execute(
                "INSERT OR REPLACE INTO shipped(message, model, targets, states) VALUES(?1, ?2, ?3, ?4)",
                params![answer, model, id_bytes(targets), states],
            )?;
            Ok(())
        })
    }

    /// The states of `model` that chat shipped for turns of a source.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn shipped(&self, model: &str, source: i64) -> Result<Vec<ShippedTurn>> {
        self.read(|c| {
            let mut statement = c.prepare(
                "SELECT l.turn, s.targets, s.states FROM lesson l JOIN shipped s ON s.message = l.message
                 WHERE l.source = ?2 AND s.model = ?1 ORDER BY l.turn",
            )?;
            let rows = statement.query_map(params![model, source], |r| {
                Ok((r.get(0)?, ids(&r.get::<_, Vec<u8>>(1)?), r.get(2)?))
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Lessons with states of `model`, in the order they came.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn lesson_sizes(&self, model: &str) -> Result<Vec<LessonSize>> {
        self.read(|c| {
            let mut statement = c.prepare(
                "SELECT l.id, l.weight, l.part, length(t.targets) / 4, length(t.states), s.conversation IS NOT NULL
                 FROM lesson l JOIN source s ON s.id = l.source JOIN state t ON t.lesson = l.id WHERE t.model = ?1 AND length(t.states) > 0 ORDER BY l.id",
            )?;
            let rows = statement.query_map([model], |r| {
                let size = |column: usize| r.get::<_, i64>(column).map(|n| n as usize);
                let (tokens, bytes) = (size(3)?, size(4)?);
                let (id, weight, part, chat) = (r.get(0)?, r.get(1)?, r.get(2)?, r.get(5)?);
                Ok(LessonSize { id, weight, part, tokens, bytes, chat })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Lessons by id with their states of `model`, in the order they came.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn lessons(&self, model: &str, wanted: &BTreeSet<i64>) -> Result<Vec<LessonRow>> {
        self.read(|c| {
            let mut statement = c.prepare(
                "SELECT l.id, l.source, l.own, l.weight, l.part, t.targets, t.states
                 FROM lesson l JOIN state t ON t.lesson = l.id WHERE t.model = ?1 AND l.id = ?2",
            )?;
            let mut out = Vec::with_capacity(wanted.len());
            for id in wanted {
                let row = |r: &Row<'_>| {
                    Ok(LessonRow {
                        id: r.get(0)?,
                        source: r.get(1)?,
                        own: r.get(2)?,
                        weight: r.get(3)?,
                        part: r.get(4)?,
                        targets: ids(&r.get::<_, Vec<u8>>(5)?),
                        states: r.get(6)?,
                    })
                };
                out.extend(statement.query_row(params![model, id], row).optional()?);
            }
            Ok(out)
        })
    }

    /// Drops the states of lessons, which are not fetched again; the rows of their tokens go with the next version.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn evict(&self, model: &str, lessons: &BTreeSet<i64>) -> Result<()> {
        self.write("evicted", |t| {
            let mut statement = t.prepare(
                "UPDATE state SET states = x'', evicted = length(states) WHERE lesson = ?1 AND model = ?2",
            )?;
            for lesson in lessons {
                statement.execute(params![lesson, model])?;
            }
            mark_states(t)
        })
    }
}

/// Token ids as they are stored.
fn id_bytes(ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
}

fn ids(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap_or_default())).collect()
}

/// Notes that cached states came or went.
pub(super) fn mark_states(t: &Transaction<'_>) -> Result<()> {
    put_meta(t, MARK, &(meta_number(t, MARK)? + 1).to_le_bytes())
}

/// Id of the newest lesson; 0 without one.
pub(super) fn highest_lesson(c: &Connection) -> Result<i64> {
    Ok(c.query_row("SELECT ifnull(max(id), 0) FROM lesson", [], |r| r.get(0))?)
}
