//! Sources of lessons: imported conversations and those of the chat. Every fifth turn is held out from training for
//! ever: a quarter of these says when to stop, the rest only measures (method, section 5).

use super::lessons::mark_states;
use super::{Result, Vault, meta_number, put_meta};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

/// Lessons counted so far, for the hold-out: those that people judged or said, and unrated replies. Counted apart, for
/// turns alternate, and a common count would hold out one side only.
const COUNTERS: [&str; 2] = ["lessons.unrated", "lessons.counter"];
/// Weight from which a lesson measures.
const JUDGED: f64 = 0.5;

/// One conversation to learn from.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceInput {
    /// Its messages as JSON.
    pub lines: String,
    /// Hashes of its beginnings: of its first message, of its first two, and so on.
    pub beginnings: Vec<Vec<u8>>,
    /// Its turns that are lessons.
    pub lessons: Vec<LessonInput>,
}

/// One turn to learn.
#[derive(Debug, Clone, PartialEq)]
pub struct LessonInput {
    /// Number of the message in its conversation.
    pub turn: u32,
    /// Said by the user.
    pub own: bool,
    /// Weight of the lesson.
    pub weight: f64,
    /// The chat's message it is.
    pub message: Option<i64>,
    /// Hash of the message with the one before it.
    pub content: Vec<u8>,
}

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

impl Vault {
    /// Adds the conversations of an import in one transaction, the same content (by SHA-256) once. What an earlier import
    /// brought is not brought again, for copies would vouch for each other and for held-out turns: a conversation that
    /// grew goes on in its old source, and turns that are known with what was said before them are left out.
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
            for source in sources {
                added += add_source(t, source, name, sha256, now)?;
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

    /// Takes a conversation of the chat as a source, or takes it again after it changed: turns keep their part, and
    /// states from the first turn on that is another are dropped. Gives how many lessons are new.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn set_chat_source(&self, conversation: i64, input: &SourceInput, now: i64) -> Result<usize> {
        self.write("lessons", |t| {
            let query = "SELECT id, beginnings FROM source WHERE conversation = ?1";
            let old: Option<(i64, Vec<u8>)> =
                t.query_row(query, [conversation], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
            let Some((id, before)) = old else {
                t.execute(
                    "INSERT INTO source(conversation, name, created, lines, beginnings) VALUES(?1, 'chat', ?2, ?3, ?4)",
                    params![conversation, now, input.lines, input.beginnings.concat()],
                )?;
                return add_lessons(t, t.last_insert_rowid(), &input.lessons, None);
            };
            let same = before.chunks(HASH).zip(&input.beginnings).take_while(|(a, b)| a == b).count();
            t.execute(
                "DELETE FROM state WHERE lesson IN (SELECT id FROM lesson WHERE source = ?1 AND turn >= ?2)",
                params![id, same as i64],
            )?;
            mark_states(t)?;
            // A message that was taken back has no lesson any more.
            let wanted: Vec<u32> = input.lessons.iter().map(|l| l.turn).collect();
            drop_lessons(t, id, &wanted)?;
            t.execute(
                "UPDATE source SET lines = ?2, created = ?3, beginnings = ?4 WHERE id = ?1",
                params![id, input.lines, now, input.beginnings.concat()],
            )?;
            add_lessons(t, id, &input.lessons, None)
        })
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
}

/// Length of a hash in bytes.
const HASH: usize = 32;

/// Adds what is new of an imported conversation; how many lessons.
fn add_source(
    t: &Transaction<'_>,
    source: &SourceInput,
    name: &str,
    import: &str,
    now: i64,
) -> Result<usize> {
    let Some(whole) = source.beginnings.last() else { return Ok(0) };
    let begins = "SELECT id FROM source WHERE import IS NOT NULL AND import <> ?1 AND whole = ?2";
    for beginning in source.beginnings.iter().rev() {
        let older: Option<i64> = t.query_row(begins, params![import, beginning], |r| r.get(0)).optional()?;
        let Some(id) = older else { continue };
        if beginning != whole {
            t.execute(
                "UPDATE source SET lines = ?2, beginnings = ?3, whole = ?4 WHERE id = ?1",
                params![id, source.lines, source.beginnings.concat(), whole],
            )?;
        }
        return add_lessons(t, id, &source.lessons, None);
    }
    t.execute(
        "INSERT INTO source(import, name, created, lines, beginnings, whole) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
        params![import, name, now, source.lines, source.beginnings.concat(), whole],
    )?;
    let id = t.last_insert_rowid();
    let added = add_lessons(t, id, &source.lessons, Some(import))?;
    if added == 0 {
        t.execute("DELETE FROM source WHERE id = ?1", [id])?;
    }
    Ok(added)
}

fn known(c: &Connection, sha256: &str) -> Result<bool> {
    Ok(c.query_row("SELECT 1 FROM source WHERE import = ?1 LIMIT 1", [sha256], |_| Ok(()))
        .optional()?
        .is_some())
}

/// Adds lessons that are not there yet, each with its part; how many. Those of a new import are left out where another
/// import brought the same turn.
fn add_lessons(
    t: &Transaction<'_>,
    source: i64,
    lessons: &[LessonInput],
    import: Option<&str>,
) -> Result<usize> {
    let mut counters = [0; 2];
    for (counter, name) in counters.iter_mut().zip(COUNTERS) {
        *counter = meta_number(t, name)?;
    }
    let mut elsewhere = t.prepare(
        "SELECT 1 FROM lesson l JOIN source s ON s.id = l.source
         WHERE l.content = ?1 AND s.import IS NOT NULL AND s.import <> ?2 LIMIT 1",
    )?;
    let mut there =
        t.prepare("SELECT id, part, content, weight FROM lesson WHERE source = ?1 AND turn = ?2")?;
    let mut keep = t.prepare("UPDATE lesson SET own = ?2, weight = ?3, message = ?4 WHERE id = ?1")?;
    let mut drop = t.prepare("DELETE FROM lesson WHERE id = ?1")?;
    let mut insert = t.prepare(
        "INSERT INTO lesson(source, turn, own, weight, part, message, content) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let mut added = 0;
    for lesson in lessons {
        if let Some(import) = import
            && elsewhere.exists(params![lesson.content, import])?
        {
            continue;
        }
        let LessonInput { turn, own, weight, message, content } = lesson;
        let old: Option<(i64, u8, Vec<u8>, f64)> = there
            .query_row(params![source, turn], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
            .optional()?;
        let judged = |weight: f64| weight >= JUDGED;
        let part = match old {
            Some((id, _, before, was)) if before == *content && judged(was) == judged(*weight) => {
                keep.execute(params![id, own, weight, message])?;
                continue;
            }
            // Other words in its place, or the first verdict on it, make a new lesson of the same part.
            Some((id, part, ..)) => {
                drop.execute([id])?;
                part
            }
            None => {
                let Some(counter) = counters.get_mut(usize::from(judged(*weight))) else { continue };
                *counter += 1;
                part(*counter - 1)
            }
        };
        insert.execute(params![source, turn, own, weight, part, message, content])?;
        added += 1;
    }
    for (counter, name) in counters.iter().zip(COUNTERS) {
        put_meta(t, name, &counter.to_le_bytes())?;
    }
    Ok(added)
}

/// Drops the lessons of a source whose turns are not wanted.
fn drop_lessons(t: &Transaction<'_>, source: i64, wanted: &[u32]) -> Result<()> {
    let mut statement = t.prepare("SELECT id, turn FROM lesson WHERE source = ?1")?;
    let rows = statement.query_map([source], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, u32>(1)?)))?;
    for (id, _) in
        rows.collect::<rusqlite::Result<Vec<_>>>()?.iter().filter(|(_, turn)| !wanted.contains(turn))
    {
        t.execute("DELETE FROM lesson WHERE id = ?1", [id])?;
    }
    Ok(())
}

/// The part of lesson number `n`.
fn part(n: i64) -> u8 {
    match n % 20 {
        4 => 1,
        9 | 14 | 19 => 2,
        _ => 0,
    }
}
