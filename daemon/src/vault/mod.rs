//! The vault: one SQLCipher file with everything personal. Blocking calls on a cheap handle; the daemon wraps them in
//! `spawn_blocking`.
//!
//! ```text
//! let key = KeyStore::at(dir).unlock(None)?;
//! let vault = Vault::open(&dir.join("vault.db"), &key)?;
//! let conversation = vault.start_conversation("title", seed, now)?;
//! let (question, answer) = vault.begin_answer(conversation, Some("text"), 0, now)?;
//! vault.append_answer(answer, "so far", &marks)?;                // now and then
//! vault.finish_answer(answer, "all", &marks, &stats, false, now)?;
//! vault.add_import("name", &sha256, &sources, now)?;             // learn FILE
//! for source in vault.sources_without_states(model)? { vault.put_states(source.id, model, &states)?; }
//! let version = vault.add_adapter(&new, now)?;                   // used at once
//! vault.use_version(None)?;                                      // back
//! ```

mod adapters;
mod chain;
mod chat;
mod error;
mod lessons;
mod marks;
mod open;
mod totals;

pub use adapters::{AdapterRow, InUse, NewAdapter};
pub use chat::{AnswerStats, ConversationRow, MessageRow};
pub use error::{Result, VaultError};
pub use lessons::{ImportOutcome, LessonInput, LessonRow, SourceInput, SourceRow};
pub use marks::TokenMark;
pub use totals::{LessonTotals, Totals};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A handle on the open vault.
#[derive(Clone)]
pub struct Vault {
    connection: Arc<Mutex<Connection>>,
    path: Arc<PathBuf>,
}

impl Vault {
    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while it was held rolled its transaction back; the connection itself is sound.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        f(&self.lock())
    }

    /// Runs `f` in a transaction and chains the commit.
    fn write<T>(&self, tag: &str, f: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let value = f(&transaction)?;
        chain::advance(&transaction, tag)?;
        transaction.commit()?;
        Ok(value)
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
        self.read(|c| Ok(c.query_row("SELECT value FROM meta WHERE key = ?1", [key], |r| r.get(0)).optional()?))
    }

    /// Keeps a small value by name.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn put_meta(&self, key: &str, value: &[u8]) -> Result<()> {
        self.write("meta", |t| put_meta(t, key, value))
    }

    /// Commits so far and the hash over them.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn head(&self) -> Result<(u64, Vec<u8>)> {
        self.read(chain::head)
    }

    /// Moves the write-ahead log into the file and empties it.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn checkpoint_wal(&self) -> Result<()> {
        self.read(|c| Ok(c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?))
    }
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
