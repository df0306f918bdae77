//! Decisions about what is in use: each is recorded with its numbers in the commit that carries it out.

use super::adapters::IN_USE;
use super::{Result, Vault, meta_number};
use rusqlite::{Connection, Transaction, params};

/// What is decided about a new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Put it in use.
    pub promote: bool,
    /// In words.
    pub verdict: String,
    /// "you" or "idle".
    pub by: String,
    /// What it was decided on, as JSON.
    pub numbers: String,
}

/// A decision that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    /// Unix seconds.
    pub created: i64,
    /// The version it was about.
    pub version: u64,
    /// What was in use before.
    pub against: u64,
    /// See [`Decision`].
    pub verdict: String,
    /// See [`Decision`].
    pub by: String,
    /// See [`Decision`].
    pub numbers: String,
}

impl Vault {
    /// All decisions, oldest first.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn decisions(&self) -> Result<Vec<DecisionRow>> {
        self.read(|c| {
            let mut statement = c.prepare(
                "SELECT created, version, against, verdict, decided_by, numbers FROM decision ORDER BY id",
            )?;
            let rows = statement.query_map([], |r| {
                Ok(DecisionRow {
                    created: r.get(0)?,
                    version: r.get::<_, i64>(1)?.cast_unsigned(),
                    against: r.get::<_, i64>(2)?.cast_unsigned(),
                    verdict: r.get(3)?,
                    by: r.get(4)?,
                    numbers: r.get(5)?,
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Whether any version was ever put in use, or taken out of it.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn was_anything_used(&self) -> Result<bool> {
        self.read(used)
    }
}

/// Verdict with which a starter begins to serve. Not that of a promotion: going back from a version of one's own never leads
/// to a starter by itself.
pub const BEGAN: &str = "began";

/// Whether any version was ever put in use, or taken out of it.
pub(super) fn used(c: &Connection) -> Result<bool> {
    // The others leave what is in use as it was.
    const USED: &str =
        "SELECT 1 FROM decision WHERE verdict IN ('promoted', 'began', 'put in use', 'rolled back') LIMIT 1";
    Ok(meta_number(c, IN_USE)? != 0 || c.prepare(USED)?.exists([])?)
}

/// Adds a row to the record.
pub(super) fn record(t: &Transaction<'_>, row: &DecisionRow) -> Result<()> {
    t.execute(
        "INSERT INTO decision(created, version, against, verdict, decided_by, numbers) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            row.created,
            row.version.cast_signed(),
            row.against.cast_signed(),
            row.verdict,
            row.by,
            row.numbers
        ],
    )?;
    Ok(())
}
