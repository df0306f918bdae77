//! A folder only its owner may enter: made 0700, owner checked, symbolic links refused.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why a folder cannot be trusted with sockets or keys.
#[derive(Debug, thiserror::Error)]
pub enum PrivateDirError {
    /// It is a symbolic link.
    #[error("{} is a symbolic link; remove it, so that a private folder can be made", .0.display())]
    Symlink(PathBuf),
    /// Something else lies there.
    #[error("{} is not a folder", .0.display())]
    NotFolder(PathBuf),
    /// Somebody else owns it.
    #[error("{} belongs to user {owner}, not to user {expected}", path.display())]
    ForeignOwner {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        expected: u32,
    },
    /// It cannot be made, read or closed to others.
    #[error("cannot make {} private: {cause}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// Makes `path` (and its parents) or checks what is there; afterwards it is a folder of ours with mode 0700.
///
/// # Errors
/// [`PrivateDirError`] when it is a link, no folder, somebody else's, or cannot be made.
pub fn make_private_dir(path: &Path) -> Result<(), PrivateDirError> {
    make_owned_by(path, rustix::process::geteuid().as_raw())
}

fn make_owned_by(path: &Path, expected: u32) -> Result<(), PrivateDirError> {
    let failed = |cause| PrivateDirError::Io { path: path.to_owned(), cause };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
        Err(cause) => return Err(failed(cause)),
    }
    // Asked without following links, and also of a folder just made: another could have swapped it.
    let found = std::fs::symlink_metadata(path).map_err(failed)?;
    if found.is_symlink() {
        return Err(PrivateDirError::Symlink(path.to_owned()));
    }
    if !found.is_dir() {
        return Err(PrivateDirError::NotFolder(path.to_owned()));
    }
    if found.uid() != expected {
        return Err(PrivateDirError::ForeignOwner { path: path.to_owned(), owner: found.uid(), expected });
    }
    if found.mode() & 0o7777 != 0o700 {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn makes_it_with_parents_and_only_for_us() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b");
        make_private_dir(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        make_private_dir(&path).unwrap();
    }

    #[test]
    fn closes_an_open_folder_of_ours() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("open");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        make_private_dir(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn refuses_links_files_and_foreign_folders() {
        let home = tempfile::tempdir().unwrap();
        let real = home.path().join("real");
        std::fs::create_dir(&real).unwrap();
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(matches!(make_private_dir(&link), Err(PrivateDirError::Symlink(_))));
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(make_private_dir(&file), Err(PrivateDirError::NotFolder(_))));
        let other = rustix::process::geteuid().as_raw() + 1;
        let error = make_owned_by(&real, other).unwrap_err();
        assert!(matches!(error, PrivateDirError::ForeignOwner { .. }), "{error}");
    }
}
