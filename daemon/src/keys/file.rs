//! Small private files: read only when nobody else may, written whole or not at all.

use super::{KEY_BYTES, KeyError, VaultKey};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Larger than any slot file.
const LARGEST: u64 = 1 << 20;

fn io(path: &Path) -> impl Fn(std::io::Error) -> KeyError + '_ {
    move |source| KeyError::Io { path: path.to_owned(), source }
}

fn damaged(path: &Path, why: &str) -> KeyError {
    KeyError::Damaged { path: path.to_owned(), why: why.to_owned() }
}

/// Reads a file of the user's own that no one else may read; no link is followed.
pub(super) fn read_private(path: &Path) -> Result<Vec<u8>, KeyError> {
    // Opened first and asked then, so that nobody can swap it in between; a pipe must not block.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|source| {
        match source.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
            true => damaged(path, "is a symbolic link; put the file itself there"),
            false => io(path)(source),
        }
    })?;
    let about = file.metadata().map_err(io(path))?;
    if !about.is_file() {
        return Err(damaged(path, "is no plain file"));
    }
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(damaged(path, "belongs to another user"));
    }
    if about.mode() & 0o077 != 0 {
        return Err(damaged(path, "may be read by others; chmod 600 it if you trust its content"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(io(path))?;
    Ok(bytes)
}

/// Writes a new file beside the old one, then takes its place; on disk before it returns.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(io(&fresh))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io(&fresh))?;
    fs::rename(&fresh, path).map_err(io(path))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|f| f.sync_all()).map_err(io(folder))
}

/// The key file's key.
pub(super) fn read_key(path: &Path) -> Result<VaultKey, KeyError> {
    let bytes = zeroize::Zeroizing::new(read_private(path)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged(path, "is no key file"))?;
    let key =
        zeroize::Zeroizing::new(crate::unhex(text.trim()).ok_or_else(|| damaged(path, "is no key file"))?);
    if key.len() != KEY_BYTES {
        return Err(damaged(path, "is no key file"));
    }
    VaultKey::from_bytes(&key).ok_or_else(|| damaged(path, "is no key file"))
}
