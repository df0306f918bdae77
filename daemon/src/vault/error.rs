//! What can be wrong with the vault. No error holds text of the user's.

use std::path::PathBuf;

/// Why the vault did not do it.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key is not this vault's, or the first page is damaged: SQLCipher cannot tell which.
    #[error("{} does not open with this key: it is damaged or belongs to another key", .0.display())]
    Key(PathBuf),
    /// Pages or rows that cannot be read.
    #[error("the vault is damaged: {0}")]
    Damaged(String),
    /// The disk is full.
    #[error("the disk that holds the vault is full; nothing was changed")]
    Full,
    /// Written by a newer Aside.
    #[error("the vault was written by a newer version of Aside (schema {0})")]
    Newer(i64),
    /// The build has no encryption.
    #[error("this build has no SQLCipher; it refuses to write a vault in plain text")]
    Plain,
    /// No such row.
    #[error("there is no {0}")]
    NotFound(String),
    /// Reading or writing the file failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Another failure of the database.
    #[error("the vault's database: {0}")]
    Database(String),
}

impl From<rusqlite::Error> for VaultError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(code(&error)),
            _ => Self::Database(code(&error)),
        }
    }
}

/// What SQLite says about the kind of failure; never the statement's values.
fn code(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, _) => code.to_string(),
        rusqlite::Error::InvalidColumnType(_, name, kind) => format!("column {name} holds a {kind}"),
        _ => "a statement failed".to_owned(),
    }
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, VaultError>;
