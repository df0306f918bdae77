//! Adapter versions: stored with their numbers, put in use in the same commit, verified when read, rolled back.

use super::decisions::{BEGAN, Decision, DecisionRow, record, used};
use super::forget::drop_tainted;
use super::lessons::{HIDDEN, highest_lesson};
use super::{Result, Vault, VaultError, meta_number, put_meta};
use ring::digest::{SHA256, digest};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

/// Version in use; 0 is base.
pub(super) const IN_USE: &str = "adapter.in_use";
/// Newest lesson that a training has seen.
pub(super) const TRAINED: &str = "lessons.trained";
/// Promoted versions that are kept.
const KEPT: i64 = 5;
/// The verdict that puts a version in use.
const PROMOTED: &str = "promoted";

/// A new version.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAdapter {
    /// Version it went on from; 0 for a newborn.
    pub parent: u64,
    /// What it was trained for.
    pub variant: String,
    /// The backbone it belongs to.
    pub model: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Tokens it was trained on.
    pub lesson_tokens: u64,
    /// Newest lesson of its training.
    pub watermark: i64,
    /// What was measured, as JSON.
    pub numbers: String,
    /// How it came, in words.
    pub note: String,
}

/// A stored version without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterRow {
    /// From 1.
    pub version: u64,
    /// See [`NewAdapter`].
    pub parent: u64,
    /// Unix seconds.
    pub created: i64,
    /// See [`NewAdapter`].
    pub variant: String,
    /// See [`NewAdapter`].
    pub model: String,
    /// Size of its bytes.
    pub size: u64,
    /// See [`NewAdapter`].
    pub lesson_tokens: u64,
    /// See [`NewAdapter`].
    pub watermark: i64,
    /// See [`NewAdapter`].
    pub numbers: String,
    /// See [`NewAdapter`].
    pub note: String,
}

/// A training that was interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// SHA-256 of its job.
    pub job: Vec<u8>,
    /// Newest lesson of its job.
    pub watermark: i64,
    /// Seed of its job.
    pub seed: u64,
    /// What it trains for.
    pub variant: String,
    /// Its exact state.
    pub bytes: Vec<u8>,
}

/// What is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// The version and its bytes; `None` is base.
    pub adapter: Option<(AdapterRow, Vec<u8>)>,
    /// Versions that did not verify on the way to it, newest first.
    pub damaged: Vec<u64>,
}

const ROW: &str = "SELECT version, parent, created, variant, model, length(bytes), lesson_tokens, watermark,
    numbers, note FROM adapter";

fn row(r: &Row<'_>) -> rusqlite::Result<AdapterRow> {
    let n = |column: usize| r.get::<_, i64>(column).map(i64::cast_unsigned);
    Ok(AdapterRow {
        version: n(0)?,
        parent: n(1)?,
        created: r.get(2)?,
        variant: r.get(3)?,
        model: r.get(4)?,
        size: n(5)?,
        lesson_tokens: n(6)?,
        watermark: r.get(7)?,
        numbers: r.get(8)?,
        note: r.get(9)?,
    })
}

impl Vault {
    /// Stores a version, puts it in use if that was decided, records the decision, forgets the checkpoint of its
    /// training and old versions: all in one commit. The last five that were promoted stay, the one in use, and the
    /// newest, so that refused candidates push none out. Gives its number.
    ///
    /// # Errors
    /// [`VaultError`], as for every call here.
    pub fn add_adapter(&self, new: &NewAdapter, decision: &Decision, now: i64) -> Result<u64> {
        self.write("adapter", |t| add(t, new, decision, now))
    }

    /// The same for a starter, unless something was put in use, or taken out of it, while it was measured; whether it is in
    /// use now.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn add_starter(&self, new: &NewAdapter, decision: &Decision, now: i64) -> Result<bool> {
        self.write("adapter", |t| {
            if used(t)? {
                return Ok(false);
            }
            add(t, new, decision, now).map(|_| true)
        })
    }

    /// All versions, oldest first.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn adapters(&self) -> Result<Vec<AdapterRow>> {
        self.read(|c| {
            let mut rows = c.prepare(&format!("{ROW} ORDER BY version"))?;
            Ok(rows.query_map([], row)?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Number of the version in use; 0 is base.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn version_in_use(&self) -> Result<u64> {
        self.read(|c| Ok(meta_number(c, IN_USE)?.cast_unsigned()))
    }

    /// A version with its bytes, verified.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], or [`VaultError::Damaged`] when its bytes do not verify.
    pub fn adapter(&self, version: u64) -> Result<(AdapterRow, Vec<u8>)> {
        self.read(|c| verified(c, version))
    }

    /// What is in use: the chosen version, or where it does not verify the newest one promoted before it that does, or
    /// base.
    ///
    /// # Errors
    /// [`VaultError`] when the vault itself fails.
    pub fn adapter_in_use(&self) -> Result<InUse> {
        let mut damaged = Vec::new();
        let mut version = self.version_in_use()?;
        while version > 0 {
            match self.adapter(version) {
                Ok(found) => return Ok(InUse { adapter: Some(found), damaged }),
                Err(VaultError::Damaged(_)) => damaged.push(version),
                Err(VaultError::NotFound(_)) => {}
                Err(other) => return Err(other),
            }
            let below = version.cast_signed();
            version = self.read(|c| promoted_below(c, below))?.cast_unsigned();
        }
        Ok(InUse { adapter: None, damaged })
    }

    /// Puts a version in use; `None` is the one that was promoted before the one in use, 0 is base. `by` and `numbers` are
    /// those of a [`Decision`]. Gives its number.
    ///
    /// # Errors
    /// [`VaultError::NotFound`].
    pub fn use_version(&self, version: Option<u64>, by: &str, numbers: &str, now: i64) -> Result<u64> {
        self.write("rollback", |t| {
            let against = meta_number(t, IN_USE)?.cast_unsigned();
            let version = match version {
                Some(version) => version.cast_signed(),
                None => promoted_below(t, meta_number(t, IN_USE)?)?,
            };
            let exists: i64 =
                t.query_row("SELECT count(*) FROM adapter WHERE version = ?1", [version], |r| r.get(0))?;
            if version != 0 && exists == 0 {
                return Err(VaultError::NotFound(format!("adapter version {version}")));
            }
            put_meta(t, IN_USE, &version.to_le_bytes())?;
            if version.cast_unsigned() != against {
                // One that only waited for another to take its place has one now.
                drop_tainted(t)?;
            }
            let hidden = if version < promoted_below(t, i64::MAX)? { highest_lesson(t)? } else { 0 };
            put_meta(t, HIDDEN, &hidden.to_le_bytes())?;
            let version = version.cast_unsigned();
            let verdict = if version < against { "rolled back" } else { "put in use" }.to_owned();
            let (by, numbers) = (by.to_owned(), numbers.to_owned());
            record(t, &DecisionRow { created: now, version, against, verdict, by, numbers })?;
            Ok(version)
        })
    }

    /// Id of the newest lesson.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn newest_lesson(&self) -> Result<i64> {
        self.read(highest_lesson)
    }

    /// The training that was interrupted.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        self.read(|c| {
            let row = |r: &Row<'_>| {
                let seed: i64 = r.get(2)?;
                let (job, watermark, variant, bytes) = (r.get(0)?, r.get(1)?, r.get(3)?, r.get(4)?);
                Ok(Checkpoint { job, watermark, seed: seed.cast_unsigned(), variant, bytes })
            };
            let query = "SELECT job, watermark, seed, variant, bytes FROM checkpoint";
            Ok(c.query_row(query, [], row).optional()?)
        })
    }

    /// Keeps a checkpoint; those of other jobs go.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn put_checkpoint(&self, new: &Checkpoint) -> Result<()> {
        let Checkpoint { job, watermark, seed, variant, bytes } = new;
        self.write("checkpoint", |t| {
            t.execute("DELETE FROM checkpoint", [])?;
            t.execute(
                "INSERT INTO checkpoint(job, watermark, seed, variant, bytes) VALUES(?1, ?2, ?3, ?4, ?5)",
                params![job, watermark, seed.cast_signed(), variant, bytes],
            )?;
            Ok(())
        })
    }
}

/// Stores a version and what was decided about it.
fn add(t: &Transaction<'_>, new: &NewAdapter, decision: &Decision, now: i64) -> Result<u64> {
    t.execute(
        "INSERT INTO adapter(parent, created, variant, model, bytes, sha256, lesson_tokens, watermark, numbers, note)
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            new.parent.cast_signed(),
            now,
            new.variant,
            new.model,
            new.bytes,
            digest(&SHA256, &new.bytes).as_ref(),
            new.lesson_tokens.cast_signed(),
            new.watermark,
            new.numbers,
            new.note
        ],
    )?;
    let version = t.last_insert_rowid();
    let against = meta_number(t, IN_USE)?;
    let in_use = if decision.promote { version } else { against };
    put_meta(t, IN_USE, &in_use.to_le_bytes())?;
    // One that came from outside knows none of our lessons and ends no training.
    if new.watermark > 0 {
        put_meta(t, TRAINED, &new.watermark.to_le_bytes())?;
        t.execute("DELETE FROM checkpoint", [])?;
    }
    if decision.promote {
        put_meta(t, HIDDEN, &0i64.to_le_bytes())?;
        drop_tainted(t)?;
    }
    let Decision { verdict, by, numbers, .. } = decision.clone();
    let (version, against) = (version.cast_unsigned(), against.cast_unsigned());
    record(t, &DecisionRow { created: now, version, against, verdict, by, numbers })?;
    t.execute(
        "DELETE FROM adapter WHERE version NOT IN (?1, ?2) AND version NOT IN
         (SELECT DISTINCT version FROM decision WHERE verdict IN (?3, ?5) AND version IN (SELECT version FROM adapter)
          ORDER BY version DESC LIMIT ?4)",
        params![version.cast_signed(), in_use, PROMOTED, KEPT, BEGAN],
    )?;
    Ok(version)
}

/// The newest version below that was promoted and is still there; 0 without one.
fn promoted_below(c: &Connection, version: i64) -> Result<i64> {
    let query = "SELECT ifnull(max(a.version), 0) FROM adapter a JOIN decision d ON d.version = a.version
                 WHERE d.verdict = ?1 AND a.version < ?2";
    Ok(c.query_row(query, params![PROMOTED, version], |r| r.get(0))?)
}

fn verified(c: &Connection, version: u64) -> Result<(AdapterRow, Vec<u8>)> {
    let id = version.cast_signed();
    let found = c.query_row(&format!("{ROW} WHERE version = ?1"), [id], row).optional()?;
    let found = found.ok_or_else(|| VaultError::NotFound(format!("adapter version {version}")))?;
    let (bytes, hash): (Vec<u8>, Vec<u8>) =
        c.query_row("SELECT bytes, sha256 FROM adapter WHERE version = ?1", [id], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })?;
    if digest(&SHA256, &bytes).as_ref() != hash {
        return Err(VaultError::Damaged(format!("adapter version {version} does not verify")));
    }
    Ok((found, bytes))
}
