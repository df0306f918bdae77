//! Forgetting: lessons go, their rows leave the memory of every version, and versions that were trained with them wait
//! for one that was not.

use super::adapters::IN_USE;
use super::decisions::{DecisionRow, record};
use super::lessons::mark_states;
use super::{Result, Vault, VaultError, meta_number, put_meta};
use ring::digest::{SHA256, digest};
use rusqlite::{Transaction, params};

/// The version in use, where it was trained with lessons that are gone; 0 where it was not.
const TAINTED: &str = "adapter.tainted";

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A conversation of the chat; it is not learned from again.
    Conversation(i64),
    /// An imported file, by name.
    File(String),
}

/// Where lessons come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSummary {
    /// The chat's conversation; 0 for a file.
    pub conversation: i64,
    /// Name of the file, or title of the conversation.
    pub name: String,
    /// Unix seconds.
    pub created: i64,
    /// Turns that are lessons.
    pub lessons: u64,
    /// Their tokens with states.
    pub tokens: u64,
}

/// What was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Lessons.
    pub lessons: u64,
    /// Rows of all memories.
    pub rows: u64,
    /// Versions that were trained with them.
    pub versions: Vec<u64>,
}

/// Takes the rows of sources out of a version's bytes: new bytes and how many rows.
type Strip<'a> = dyn Fn(&[u8], &[i64]) -> std::result::Result<(Vec<u8>, usize), String> + 'a;

impl Vault {
    /// Where lessons come from, oldest first.
    ///
    /// # Errors
    /// [`VaultError`], as for every call here.
    pub fn sources(&self) -> Result<Vec<SourceSummary>> {
        self.read(|c| {
            let mut statement = c.prepare(
                "SELECT ifnull(s.conversation, 0), ifnull(c.title, s.name), min(s.created), count(DISTINCT l.id),
                 ifnull(sum(length(t.targets)), 0) / 4
                 FROM source s LEFT JOIN conversation c ON c.id = s.conversation
                 JOIN lesson l ON l.source = s.id LEFT JOIN state t ON t.lesson = l.id
                 GROUP BY ifnull(s.conversation, s.name) ORDER BY min(s.id)",
            )?;
            let rows = statement.query_map([], |r| {
                let count = |column: usize| r.get::<_, i64>(column).map(i64::cast_unsigned);
                Ok(SourceSummary {
                    conversation: r.get(0)?,
                    name: r.get(1)?,
                    created: r.get(2)?,
                    lessons: count(3)?,
                    tokens: count(4)?,
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Drops lessons, states and memory rows in one commit. A version in use that was trained with them stays until the
    /// next one, which is learned without them, takes its place; where none is, all that were go at once.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] when nothing was learned from it.
    pub fn forget(&self, wanted: &Wanted, strip: &Strip<'_>, now: i64) -> Result<Forgotten> {
        let forgotten = self.write("forget", |t| {
            let sources = sources_of(t, wanted)?;
            let mut lessons: Vec<i64> = Vec::new();
            for source in &sources {
                let mut ids = t.prepare("SELECT id FROM lesson WHERE source = ?1")?;
                let ids = ids.query_map([source], |r| r.get::<_, i64>(0))?;
                lessons.extend(ids.collect::<rusqlite::Result<Vec<_>>>()?);
            }
            let Some(first) = lessons.iter().min().copied() else {
                return Err(VaultError::NotFound("a lesson from it".into()));
            };
            for source in &sources {
                t.execute("DELETE FROM source WHERE id = ?1", [source])?;
            }
            if let Wanted::Conversation(id) = wanted {
                t.execute("UPDATE conversation SET learn = 0 WHERE id = ?1", [id])?;
            }
            mark_states(t)?;
            t.execute("DELETE FROM checkpoint", [])?;
            let mut forgotten = Forgotten { lessons: lessons.len() as u64, ..Forgotten::default() };
            let versions: Vec<(i64, i64)> = {
                let mut statement = t.prepare("SELECT version, watermark FROM adapter ORDER BY version")?;
                let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
                rows.collect::<rusqlite::Result<_>>()?
            };
            for (version, _) in versions.iter().filter(|(_, watermark)| *watermark >= first) {
                forgotten.rows += stripped(t, *version, &sources, strip)?;
                forgotten.versions.push(version.cast_unsigned());
            }
            let in_use = meta_number(t, IN_USE)?.cast_unsigned();
            for version in forgotten.versions.iter().filter(|version| **version != in_use) {
                t.execute("DELETE FROM adapter WHERE version = ?1", [version.cast_signed()])?;
            }
            if forgotten.versions.contains(&in_use) {
                put_meta(t, TAINTED, &in_use.to_le_bytes())?;
            }
            let (verdict, by, numbers) = ("lessons forgotten".to_owned(), "you".to_owned(), "{}".to_owned());
            record(t, &DecisionRow { created: now, version: in_use, against: in_use, verdict, by, numbers })?;
            Ok(forgotten)
        })?;
        // The log still holds the pages as they were; it is emptied now, or at a later checkpoint.
        let _ = self.checkpoint_wal();
        Ok(forgotten)
    }

    /// Whether versions wait for one that was trained without what is forgotten.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn tainted(&self) -> Result<bool> {
        self.read(|c| Ok(meta_number(c, TAINTED)? > 0))
    }

    /// Nothing is left to learn from: base takes over, and the versions that wait go.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn drop_tainted(&self, now: i64) -> Result<()> {
        self.write("forgotten", |t| {
            let against = meta_number(t, IN_USE)?;
            if against != 0 && against == meta_number(t, TAINTED)? {
                put_meta(t, IN_USE, &0i64.to_le_bytes())?;
                let (verdict, by, numbers) = ("rolled back".to_owned(), "you".to_owned(), "{}".to_owned());
                let against = against.cast_unsigned();
                record(t, &DecisionRow { created: now, version: 0, against, verdict, by, numbers })?;
            }
            drop_tainted(t)
        })
    }
}

/// A version that was trained without them is in use: the one that waited for it goes.
pub(super) fn drop_tainted(t: &Transaction<'_>) -> Result<()> {
    let tainted = meta_number(t, TAINTED)?;
    t.execute("DELETE FROM adapter WHERE version = ?1", [tainted])?;
    put_meta(t, TAINTED, &0i64.to_le_bytes())
}

fn sources_of(t: &Transaction<'_>, wanted: &Wanted) -> Result<Vec<i64>> {
    let ids = |query: &str, parameter: &dyn rusqlite::ToSql| -> Result<Vec<i64>> {
        let mut statement = t.prepare(query)?;
        let rows = statement.query_map([parameter], |r| r.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    };
    match wanted {
        Wanted::Conversation(id) => ids("SELECT id FROM source WHERE conversation = ?1", id),
        Wanted::File(name) => ids("SELECT id FROM source WHERE import IS NOT NULL AND name = ?1", name),
    }
}

/// Takes the rows out of a version; how many. One that cannot be read has none that could be used.
fn stripped(t: &Transaction<'_>, version: i64, sources: &[i64], strip: &Strip<'_>) -> Result<u64> {
    let query = "SELECT bytes FROM adapter WHERE version = ?1";
    let bytes: Vec<u8> = t.query_row(query, [version], |r| r.get(0))?;
    let Ok((bytes, rows)) = strip(&bytes, sources) else { return Ok(0) };
    t.execute(
        "UPDATE adapter SET bytes = ?2, sha256 = ?3 WHERE version = ?1",
        params![version, bytes, digest(&SHA256, &bytes).as_ref()],
    )?;
    Ok(rows as u64)
}
