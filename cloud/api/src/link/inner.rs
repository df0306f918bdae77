//! Names of the sockets between a relay and ZeroMQ: in a folder that only its owner may enter, short enough for the
//! system, removed with their owner.

use super::LinkError;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Longest folder under which a socket's name still fits into the 108 bytes of an address.
const FOLDER_BYTES: usize = 72;
/// How long a socket of unknown owner may take to say that nobody is there.
const STALE_WAIT: Duration = Duration::from_millis(200);

/// A path for one socket; the file goes with this value.
pub(super) struct Inner(PathBuf);

impl Inner {
    /// A new name in `folder`, which becomes private; in a short folder of ours when `folder` is too long.
    pub(super) fn new(folder: &Path, kind: char) -> Result<Self, LinkError> {
        let folder = private(folder)?;
        Ok(Self(folder.join(format!("{kind}{:x}-{:x}", std::process::id(), super::unique()))))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// As ZeroMQ names it.
    pub(super) fn endpoint(&self) -> String {
        format!("ipc://{}", self.0.display())
    }

    /// Removes sockets of the same kind that a killed process left in the folder.
    pub(super) async fn sweep(&self) {
        let folder = self.0.parent().and_then(|f| std::fs::read_dir(f).ok());
        let kind = self.0.file_name().and_then(|n| n.as_bytes().first().copied());
        for entry in folder.into_iter().flatten().flatten() {
            if entry.file_name().as_bytes().first().copied() == kind
                && let Ok(Err(e)) = timeout(STALE_WAIT, UnixStream::connect(entry.path())).await
                && e.kind() == io::ErrorKind::ConnectionRefused
            {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The folder itself where sockets fit below it, else a hashed one; ours, no link, mode 0700.
fn private(folder: &Path) -> Result<PathBuf, LinkError> {
    let user = rustix::process::geteuid().as_raw();
    let folder = if folder.as_os_str().len() <= FOLDER_BYTES {
        folder.to_owned()
    } else {
        let digest = ring::digest::digest(&ring::digest::SHA256, folder.as_os_str().as_bytes());
        let name = crate::identity::hex(digest.as_ref().get(..8).unwrap_or_default());
        std::env::temp_dir().join(format!("aside-{user}-{name}"))
    };
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e.into()),
        _ => {}
    }
    let found = std::fs::symlink_metadata(&folder)?;
    if !found.is_dir() || found.uid() != user {
        return Err(LinkError::Io(format!("{} is not a folder of yours; remove it", folder.display())));
    }
    if found.mode() & 0o777 != 0o700 {
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_private_short_and_swept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("p");
        let first = Inner::new(&folder, 'r').unwrap();
        let stale = folder.join("r1-1");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        let live = folder.join("r1-2");
        let listener = tokio::net::UnixListener::bind(&live).unwrap();
        first.sweep().await;
        assert!(!stale.exists() && live.exists());
        drop(listener);
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        let long = Inner::new(&dir.path().join("x".repeat(200)), 'd').unwrap();
        assert!(long.path().as_os_str().len() < 108);
        std::fs::remove_dir(long.path().parent().unwrap()).unwrap();
    }

    #[test]
    fn a_link_is_no_private_folder() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(Inner::new(&link, 'r').is_err());
    }
}
