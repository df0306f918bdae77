//! Making and opening the file: encryption first, then the schema. Never a silent fresh start.

use super::{Result, Vault, VaultError, diagnose};
use crate::keys::{VaultKey, unborn_marker};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

/// Number n leads from schema n to n + 1; a new one goes at the end, and none is ever changed.
const MIGRATIONS: [&str; 2] = [include_str!("schema.sql"), include_str!("schema2.sql")];

impl Vault {
    /// Makes the file: complete under another name first, so that an empty `path` is never a young vault. There must be
    /// none, nor one that these key slots had before.
    ///
    /// # Errors
    /// [`VaultError::Damaged`] where key slots say that there was a vault; [`VaultError::Full`], [`VaultError::Io`].
    pub fn create(path: &Path, key: &VaultKey) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let marker = unborn_marker(folder);
        if path.symlink_metadata().is_ok() {
            return Err(io(path)(std::io::ErrorKind::AlreadyExists.into()));
        }
        let had_one = folder.join("slots.json").exists() && !marker.exists();
        if had_one || beside(path, "-wal").exists() {
            return Err(VaultError::Damaged(format!(
                "{} is gone, but what belongs to it is still there. Put it back from a backup, or move {} away and run \
                 `aside init` to start anew",
                path.display(),
                folder.display()
            )));
        }
        let fresh = beside(path, ".new");
        for leftover in ["", "-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(beside(&fresh, leftover));
        }
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(io(&fresh))?;
        let mut connection = keyed(&fresh, key)?;
        migrate(&mut connection, 0)?;
        connection.close().map_err(|(_, e)| e)?;
        File::open(&fresh).and_then(|f| f.sync_all()).map_err(io(&fresh))?;
        fs::rename(&fresh, path).map_err(io(path))?;
        let _ = fs::remove_file(&marker);
        File::open(folder).and_then(|f| f.sync_all()).map_err(io(folder))?;
        Self::open(path, key)
    }

    /// Opens the file and brings its schema up to date.
    ///
    /// # Errors
    /// [`VaultError::Key`], [`VaultError::Newer`], [`VaultError::Damaged`], [`VaultError::Io`]; nothing was changed.
    pub fn open(path: &Path, key: &VaultKey) -> Result<Self> {
        let about = fs::metadata(path).map_err(io(path))?;
        // SQLite takes a file without one whole page for a new one and would write to it.
        if about.len() < diagnose::PAGE as u64 {
            return Err(VaultError::Damaged(format!("{} is cut off or empty", path.display())));
        }
        let mut connection = keyed(path, key)?;
        let schema: u32 = connection.pragma_query_value(None, "user_version", |r| r.get(0))?;
        match schema as usize {
            0 => return Err(VaultError::Damaged("it has no schema".into())),
            newer if newer > MIGRATIONS.len() => return Err(VaultError::Newer(schema.into())),
            known => migrate(&mut connection, known)?,
        }
        // The vault is there: the slots have one now, also when a crash left the marker behind.
        let _ = path.parent().map(|folder| fs::remove_file(unborn_marker(folder)));
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            path: Arc::new(path.to_owned()),
            key: Arc::new(key.clone()),
        })
    }
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> VaultError + '_ {
    move |source| match source.kind() {
        std::io::ErrorKind::StorageFull => VaultError::Full,
        _ => VaultError::Io { path: path.to_owned(), source },
    }
}

/// `path` with `end` behind its name.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Runs the migrations that are missing, all in one commit.
fn migrate(connection: &mut Connection, schema: usize) -> Result<()> {
    let missing = MIGRATIONS.get(schema..).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as u32)?;
    Ok(transaction.commit()?)
}

/// A connection that can read the file, with every pragma set.
pub(super) fn keyed(path: &Path, key: &VaultKey) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // The cipher library sets itself up with the first connection; a second one at the same moment finds it half ready
    // ("SQL logic error" in one of forty test runs).
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let connection = Connection::open_with_flags(path, flags)?;
    // SQLCipher writes to stderr by default; what matters comes back as an error.
    connection.execute_batch("PRAGMA cipher_log_level = NONE")?;
    let hex = Zeroizing::new(crate::hex(key.bytes()));
    connection.execute_batch(&Zeroizing::new(format!("PRAGMA key = \"x'{}'\"", hex.as_str())))?;
    let cipher: String = connection.query_row("PRAGMA cipher_version", [], |r| r.get(0)).unwrap_or_default();
    if cipher.is_empty() {
        return Err(VaultError::Plain);
    }
    // The first read decides whether the key fits.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(|e| {
        match e.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) if diagnose::key_fits(path, key) => {
                VaultError::Damaged(format!("the first page of {} was changed", path.display()))
            }
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
