//! The vault: one SQLCipher file with everything personal. Blocking calls on a cheap handle; the daemon wraps them in
//! `spawn_blocking`.
//!
//! ```text
//! let key = KeyStore::at(dir).create(SlotKind::File, None)?;     // the first time; then
//! let vault = Vault::create(&dir.join("vault.db"), &key)?;
//! let key = KeyStore::at(dir).unlock(passphrase)?;               // at every start; then
//! let vault = Vault::open(&dir.join("vault.db"), &key)?;
//! let conversation = vault.start_conversation("title", seed, now)?;
//! let (question, answer) = vault.begin_answer(conversation, Some("text"), now)?;
//! vault.append_answer(answer, "so far", &marks)?;                // now and then
//! vault.finish_answer(answer, "all", &marks, &stats, false, now)?;
//! vault.add_import("name", &sha256, &sources, now)?;             // learn FILE
//! for source in vault.sources_without_states(model)? {           // states: (lesson id, targets, codec bytes)
//!     vault.put_states(model, &states)?;
//! }
//! let version = vault.add_adapter(&new, &decision, now)?;        // used if so decided
//! vault.use_version(None, "you", "{}", now)?;                                 // back
//! ```

mod adapters;
mod chain;
mod chat;
mod decisions;
mod diagnose;
mod error;
mod forget;
mod lessons;
mod marks;
mod open;
mod sources;
mod totals;

pub use adapters::{AdapterRow, Checkpoint, InUse, NewAdapter};
pub use chat::{AnswerStats, Begun, ConversationRow, MessageRow, Switches};
pub use decisions::{BEGAN, Decision, DecisionRow};
pub use error::{Result, VaultError};
pub use forget::{Forgotten, SourceSummary, Wanted};
pub use lessons::{LessonRow, LessonSize, ShippedTurn};
pub use marks::TokenMark;
pub use sources::{ImportOutcome, LessonInput, SourceInput, SourceRow};
pub use totals::{LessonTotals, Totals};

use crate::keys::VaultKey;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A handle on the open vault.
#[derive(Clone)]
pub struct Vault {
    connection: Arc<Mutex<Connection>>,
    path: Arc<PathBuf>,
    key: Arc<VaultKey>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Vault {
    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while it was held rolled its transaction back; the connection itself is sound.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let mut connection = self.lock();
        let result = f(&connection);
        self.recover(&mut connection, &result);
        result
    }

    /// Runs `f` in a transaction and chains the commit.
    fn write<T>(&self, tag: &str, f: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.lock();
        let result = commit(&mut connection, tag, f);
        self.recover(&mut connection, &result);
        result
    }

    /// After one page that does not verify SQLCipher refuses all others on that connection, so a fresh one takes over:
    /// what is whole stays readable.
    fn recover<T>(&self, connection: &mut Connection, result: &Result<T>) {
        if matches!(result, Err(VaultError::Damaged(_)))
            && let Ok(fresh) = open::keyed(&self.path, &self.key)
        {
            *connection = fresh;
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A small value kept by name.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn meta(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.read(|c| {
            Ok(c.query_row("SELECT value FROM meta WHERE key = ?1", [key], |r| r.get(0)).optional()?)
        })
    }

    /// Keeps a small value by name.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn put_meta(&self, key: &str, value: &[u8]) -> Result<()> {
        self.write("meta", |t| put_meta(t, key, value))
    }

    /// Drops small values whose names begin with `family`, but not those that begin with `prefix`.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn keep_meta(&self, family: &str, prefix: &str) -> Result<()> {
        self.write("meta", |t| {
            let query =
                "DELETE FROM meta WHERE substr(key, 1, length(?1)) = ?1 AND substr(key, 1, length(?2)) <> ?2";
            t.execute(query, [family, prefix])?;
            Ok(())
        })
    }

    /// Commits so far and the hash over them.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn head(&self) -> Result<(u64, Vec<u8>)> {
        self.read(chain::head)
    }

    /// Verifies every page of the file, for `aside doctor`.
    ///
    /// # Errors
    /// [`VaultError::Damaged`] says what is wrong first and how much there is.
    pub fn verify(&self) -> Result<()> {
        self.checkpoint_wal()?;
        self.read(|c| {
            let mut faults = Vec::new();
            for pragma in ["PRAGMA cipher_integrity_check", "PRAGMA quick_check(10)"] {
                let mut statement = c.prepare(pragma)?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    faults.push(row.get::<_, String>(0)?);
                }
            }
            faults.retain(|fault| fault != "ok");
            match faults.first() {
                None => Ok(()),
                Some(first) => Err(VaultError::Damaged(format!("{first} ({} faults)", faults.len()))),
            }
        })
    }

    /// Moves the write-ahead log into the file and empties it.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn checkpoint_wal(&self) -> Result<()> {
        self.read(|c| Ok(c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?))
    }
}

fn commit<T>(c: &mut Connection, tag: &str, f: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
    let transaction = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = f(&transaction)?;
    chain::advance(&transaction, tag)?;
    transaction.commit()?;
    Ok(value)
}

fn put_meta(t: &Transaction<'_>, key: &str, value: &[u8]) -> Result<()> {
    t.execute(
        "INSERT INTO meta(key, value) VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
        params![key, value],
    )?;
    Ok(())
}

/// A number kept in `meta`; 0 when it was never set.
fn meta_number(c: &Connection, key: &str) -> Result<i64> {
    let bytes: Option<Vec<u8>> =
        c.query_row("SELECT value FROM meta WHERE key = ?1", [key], |r| r.get(0)).optional()?;
    Ok(bytes.and_then(|b| b.try_into().ok()).map_or(0, i64::from_le_bytes))
}

#[cfg(test)]
mod tests;
