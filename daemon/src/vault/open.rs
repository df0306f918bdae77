//! Opening the file: encryption first, then the schema. Never a silent fresh start.

use super::{Result, Vault, VaultError};
use crate::keys::VaultKey;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use zeroize::Zeroizing;

const SCHEMA: i64 = 1;

impl Vault {
    /// Makes the file; there must be none.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn create(path: &Path, key: &VaultKey) -> Result<Self> {
        let io = |source| VaultError::Io { path: path.to_owned(), source };
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        let mut connection = keyed(path, key)?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(include_str!("schema.sql"))?;
        transaction.pragma_update(None, "user_version", SCHEMA)?;
        transaction.commit()?;
        Ok(Self::of(connection, path))
    }

    /// Opens the file.
    ///
    /// # Errors
    /// [`VaultError::Key`], [`VaultError::Newer`], [`VaultError::Damaged`], [`VaultError::Io`].
    pub fn open(path: &Path, key: &VaultKey) -> Result<Self> {
        std::fs::metadata(path).map_err(|source| VaultError::Io { path: path.to_owned(), source })?;
        let connection = keyed(path, key)?;
        match connection.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0))? {
            SCHEMA => Ok(Self::of(connection, path)),
            // The file was made, but a crash came before its schema.
            0 if table_count(&connection)? == 0 => {
                connection.execute_batch(&format!(
                    "BEGIN;{};PRAGMA user_version = {SCHEMA};COMMIT",
                    include_str!("schema.sql")
                ))?;
                Ok(Self::of(connection, path))
            }
            newer if newer > SCHEMA => Err(VaultError::Newer(newer)),
            _ => Err(VaultError::Damaged("it has no schema".into())),
        }
    }

    fn of(connection: Connection, path: &Path) -> Self {
        Self { connection: Arc::new(Mutex::new(connection)), path: Arc::new(path.to_owned()) }
    }
}

fn table_count(c: &Connection) -> Result<i64> {
    Ok(c.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?)
}

fn keyed(path: &Path, key: &VaultKey) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let pragma = Zeroizing::new(format!("PRAGMA key = \"x'{}'\"", Zeroizing::new(crate::hex(key.bytes())).as_str()));
    connection.execute_batch(&pragma)?;
    let cipher: String = connection.query_row("PRAGMA cipher_version", [], |r| r.get(0)).unwrap_or_default();
    if cipher.is_empty() {
        return Err(VaultError::Plain);
    }
    // The first read decides whether the key fits.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(|e| {
        match e.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => VaultError::Key(path.to_owned()),
            _ => e.into(),
        }
    })?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;
         PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0; PRAGMA busy_timeout = 5000;",
    )?;
    Ok(connection)
}
