//! Lessons and their cached states. Every fifth lesson is held out from training for ever: a quarter of these says
//! when to stop, the rest only measures (method, section 5).

use std::collections::HashSet;

use super::{Result, Vault, meta_number, put_meta};
use ring::digest::{SHA256, digest};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

/// Lessons counted so far, for the hold-out.
const COUNTER: &str = "lessons.counter";

/// One conversation to learn from.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceInput {
    /// Its messages as JSON.
    pub lines: String,
    /// Its turns that are lessons.
    pub lessons: Vec<LessonInput>,
}

/// One turn to learn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LessonInput {
    /// Number of the message in its conversation.
    pub turn: u32,
    /// Said by the user.
    pub own: bool,
    /// Weight of the lesson.
    pub weight: f64,
    /// The chat's message it is.
    pub message: Option<i64>,
}

/// States of a turn: its number, tokens, and one codec state per token.
pub type ShippedTurn = (u32, Vec<u32>, Vec<u8>);

/// What an import did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportOutcome {
    /// This many lessons are new.
    Added(usize),
    /// The same content was imported before; nothing changed.
    Known,
}

/// A source that has lessons without states.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceRow {
    /// Row id.
    pub id: i64,
    /// Its messages as JSON.
    pub lines: String,
    /// Lesson ids by turn.
    pub lessons: Vec<(u32, i64)>,
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
    /// Adds the conversations of an import in one transaction; the same content (by SHA-256) is added once.
    ///
    /// # Errors
    /// [`super::VaultError`], as for every call here.
    pub fn add_import(
        &self,
        name: &str,
        sha256: &str,
        sources: &[SourceInput],
        now: i64,
    ) -> Result<ImportOutcome> {
        if self.read(|c| known(c, sha256))? {
            return Ok(ImportOutcome::Known);
        }
        self.write("import", |t| {
            let mut added = 0;
            // A file that grew brings its old conversations again; two copies would vouch for each other.
            let before = imported(t)?;
            for source in sources.iter().filter(|s| !before.contains(&hash(&s.lines))) {
                t.execute(
                    "INSERT INTO source(import, name, created, lines) VALUES(?1, ?2, ?3, ?4)",
                    params![sha256, name, now, source.lines],
                )?;
                let id = t.last_insert_rowid();
                added += add_lessons(t, id, &source.lessons)?;
            }
            Ok(ImportOutcome::Added(added))
        })
    }

    /// Conversations of the chat that may be learned from and have grown since their lessons were taken.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn conversations_to_learn(&self) -> Result<Vec<i64>> {
        self.read(|c| {
            let mut rows = c.prepare(
                "SELECT c.id FROM conversation c LEFT JOIN source s ON s.conversation = c.id
                 WHERE c.learn = 1 AND EXISTS(SELECT 1 FROM message m WHERE m.conversation = c.id)
                 AND (s.id IS NULL OR c.updated >= s.created) ORDER BY c.id",
            )?;
            Ok(rows.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Takes a conversation of the chat as a source, or takes it again after it grew: turns keep their part, and
    /// states of turns that the change touches are dropped. Gives how many lessons are new.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn set_chat_source(&self, conversation: i64, input: &SourceInput, now: i64) -> Result<usize> {
        self.write("lessons", |t| {
            let old: Option<(i64, String)> = t
                .query_row("SELECT id, lines FROM source WHERE conversation = ?1", [conversation], |r| {
                    Ok((r.get(0)?, r.get(1)?))
                })
                .optional()?;
            let Some((id, lines)) = old else {
                t.execute(
                    "INSERT INTO source(conversation, name, created, lines) VALUES(?1, 'chat', ?2, ?3)",
                    params![conversation, now, input.lines],
                )?;
                let id = t.last_insert_rowid();
                return add_lessons(t, id, &input.lessons);
            };
            // A longer conversation keeps its prefix: JSON lists then differ only behind it.
            let prefix = lines.strip_suffix(']').unwrap_or(&lines);
            if !input.lines.starts_with(prefix) {
                t.execute(
                    "DELETE FROM state WHERE lesson IN (SELECT id FROM lesson WHERE source = ?1)",
                    [id],
                )?;
            }
            // A reply that was taken back has no lesson any more.
            let last = input.lessons.iter().map(|l| i64::from(l.turn)).max().unwrap_or(-1);
            t.execute("DELETE FROM lesson WHERE source = ?1 AND turn > ?2", [id, last])?;
            t.execute(
                "UPDATE source SET lines = ?2, created = ?3 WHERE id = ?1",
                params![id, input.lines, now],
            )?;
            add_lessons(t, id, &input.lessons)
        })
    }

    /// Lessons with states that are newer than a version, its memory's next rows; none once it was rolled back to.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn lessons_since(&self, version: u64) -> Result<Vec<LessonRow>> {
        self.lessons(
            "JOIN adapter a ON a.version = ?1 AND a.version = (SELECT max(version) FROM adapter)
             WHERE t.model = a.model AND l.id > a.watermark",
            version.cast_signed(),
        )
    }

    /// Changes whenever a lesson gets its states.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn states_mark(&self) -> Result<i64> {
        self.read(|c| Ok(c.query_row("SELECT ifnull(max(lesson), 0) FROM state", [], |r| r.get(0))?))
    }

    /// The source that a conversation of the chat is.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn source_of(&self, conversation: i64) -> Result<Option<i64>> {
        self.read(|c| {
            let query = "SELECT id FROM source WHERE conversation = ?1";
            Ok(c.query_row(query, [conversation], |r| r.get(0)).optional()?)
        })
    }

    /// Sources with lessons that have no states of `model`, oldest first.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn sources_without_states(&self, model: &str) -> Result<Vec<SourceRow>> {
        self.read(|c| {
            let mut rows = c.prepare(
                "SELECT s.id, s.lines, l.turn, l.id FROM source s JOIN lesson l ON l.source = s.id
                 WHERE EXISTS(SELECT 1 FROM lesson x WHERE x.source = s.id AND NOT EXISTS
                   (SELECT 1 FROM state t WHERE t.lesson = x.id AND t.model = ?1))
                 ORDER BY s.id, l.turn",
            )?;
            let mut out: Vec<SourceRow> = Vec::new();
            let mut found = rows.query([model])?;
            while let Some(r) = found.next()? {
                let id: i64 = r.get(0)?;
                if out.last().is_none_or(|s| s.id != id) {
                    out.push(SourceRow { id, lines: r.get(1)?, lessons: Vec::new() });
                }
                if let Some(source) = out.last_mut() {
                    source.lessons.push((r.get(2)?, r.get(3)?));
                }
            }
            Ok(out)
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
                 ON CONFLICT(lesson, model) DO UPDATE SET targets = excluded.targets, states = excluded.states",
            )?;
            let used = "DELETE FROM shipped WHERE message = (SELECT message FROM lesson WHERE id = ?1)";
            let mut used = t.prepare(used)?;
            for (lesson, targets, states) in states {
                insert.execute(params![lesson, model, id_bytes(targets), states])?;
                used.execute([lesson])?;
            }
            Ok(())
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

    /// All lessons with states of `model`, in the order they came.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn lessons_with_states(&self, model: &str) -> Result<Vec<LessonRow>> {
        self.lessons("WHERE t.model = ?1", model)
    }

    fn lessons(&self, which: &str, parameter: impl rusqlite::ToSql) -> Result<Vec<LessonRow>> {
        self.read(|c| {
            let mut statement = c.prepare(&format!(
                "SELECT l.id, l.source, l.own, l.weight, l.part, t.targets, t.states
                 FROM lesson l JOIN state t ON t.lesson = l.id {which} ORDER BY l.id"
            ))?;
            let rows = statement.query_map([parameter], |r| {
                Ok(LessonRow {
                    id: r.get(0)?,
                    source: r.get(1)?,
                    own: r.get(2)?,
                    weight: r.get(3)?,
                    part: r.get(4)?,
                    targets: ids(&r.get::<_, Vec<u8>>(5)?),
                    states: r.get(6)?,
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

/// Hashes of all conversations that were imported.
fn imported(t: &Transaction<'_>) -> Result<HashSet<Vec<u8>>> {
    let mut statement = t.prepare("SELECT lines FROM source WHERE import IS NOT NULL")?;
    let rows = statement.query_map([], |r| Ok(hash(&r.get::<_, String>(0)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn hash(lines: &str) -> Vec<u8> {
    digest(&SHA256, lines.as_bytes()).as_ref().to_vec()
}

/// Token ids as they are stored.
fn id_bytes(ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
}

fn ids(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap_or_default())).collect()
}

fn known(c: &Connection, sha256: &str) -> Result<bool> {
    Ok(c.query_row("SELECT 1 FROM source WHERE import = ?1 LIMIT 1", [sha256], |_| Ok(()))
        .optional()?
        .is_some())
}

/// Adds lessons that are not there yet, each with its part; how many.
fn add_lessons(t: &Transaction<'_>, source: i64, lessons: &[LessonInput]) -> Result<usize> {
    let mut counter = meta_number(t, COUNTER)?;
    let mut added = 0;
    for lesson in lessons {
        let fresh = t.execute(
            "INSERT OR IGNORE INTO lesson(source, turn, own, weight, part, message) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
            params![source, lesson.turn, lesson.own, lesson.weight, part(counter), lesson.message],
        )?;
        counter += fresh as i64;
        added += fresh;
    }
    put_meta(t, COUNTER, &counter.to_le_bytes())?;
    Ok(added)
}

/// The part of lesson number `n`.
fn part(n: i64) -> u8 {
    match n % 20 {
        4 => 1,
        9 | 14 | 19 => 2,
        _ => 0,
    }
}

/// Id of the newest lesson; 0 without one.
pub(super) fn highest_lesson(c: &Connection) -> Result<i64> {
    Ok(c.query_row("SELECT ifnull(max(id), 0) FROM lesson", [], |r| r.get(0))?)
}
