//! Where everything lies. `ASIDE_HOME` moves all of it under one folder; else the platform's own folders.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::private_dir::{PrivateDirError, make_private_dir};

/// A socket's path may have 107 bytes on Linux and 103 on macOS; the longest name we make below the folder has 40.
const LONGEST_RUNTIME_DIR: usize = 103 - 41;

/// The folders and files of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// `config.toml`; need not exist.
    pub config_file: PathBuf,
    /// The vault, and the identity and lists of a cloud on this machine.
    pub data_dir: PathBuf,
    /// What can be fetched again: model kits.
    pub cache_dir: PathBuf,
    /// Logs.
    pub state_dir: PathBuf,
    /// Sockets and locks; private, see [`Paths::make_runtime_dir`].
    pub runtime_dir: PathBuf,
}

/// Why no folders can be named.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// Neither `ASIDE_HOME` nor a home folder.
    #[error("this user has no home folder; name one with ASIDE_HOME")]
    NoHome,
    /// A relative `ASIDE_HOME` and no current folder.
    #[error("ASIDE_HOME is relative and the current folder cannot be read: {0}")]
    NoCurrentDir(#[from] std::io::Error),
}

/// Where systemd looks for a user's own units. It is the system's folder, so `ASIDE_HOME` does not move it; `None` without
/// a home folder.
#[expect(clippy::disallowed_methods, reason = "the one place that asks the platform for folders")]
#[must_use]
pub fn systemd_folder() -> Option<PathBuf> {
    directories::BaseDirs::new().map(|dirs| dirs.config_dir().join("systemd/user"))
}

/// The environment that decides, as data.
struct Surroundings {
    aside_home: Option<OsString>,
    xdg_runtime_dir: Option<OsString>,
    temp: PathBuf,
    user: u32,
}

impl Paths {
    /// Names the folders for this user; makes none of them.
    ///
    /// # Errors
    /// [`PathsError`] when there is no home.
    pub fn resolve() -> Result<Self, PathsError> {
        Self::from(&Surroundings {
            aside_home: std::env::var_os("ASIDE_HOME").filter(|value| !value.is_empty()),
            xdg_runtime_dir: std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()),
            temp: std::env::temp_dir(),
            user: rustix::process::geteuid().as_raw(),
        })
    }

    /// Everything under `home`, as with `ASIDE_HOME`.
    #[must_use]
    pub fn under(home: &Path) -> Self {
        let user = rustix::process::geteuid().as_raw();
        Self::below(home, &std::env::temp_dir(), user)
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that asks the platform for folders")]
    fn from(around: &Surroundings) -> Result<Self, PathsError> {
        if let Some(home) = &around.aside_home {
            let home = std::path::absolute(home)?;
            return Ok(Self::below(&home, &around.temp, around.user));
        }
        let dirs = directories::ProjectDirs::from("", "", "aside").ok_or(PathsError::NoHome)?;
        let data_dir = dirs.data_local_dir().to_owned();
        let runtime_dir = around.xdg_runtime_dir.as_ref().map_or_else(
            || hashed(&around.temp, around.user, &data_dir),
            |dir| short(Path::new(dir).join("aside"), &around.temp, around.user),
        );
        Ok(Self {
            config_file: dirs.config_dir().join("config.toml"),
            cache_dir: dirs.cache_dir().to_owned(),
            state_dir: dirs.state_dir().map_or_else(|| data_dir.join("state"), Path::to_owned),
            data_dir,
            runtime_dir,
        })
    }

    fn below(home: &Path, temp: &Path, user: u32) -> Self {
        Self {
            config_file: home.join("config.toml"),
            data_dir: home.join("data"),
            cache_dir: home.join("cache"),
            state_dir: home.join("state"),
            runtime_dir: short(home.join("run"), temp, user),
        }
    }

    /// Makes the folder of the sockets private, or checks that it is.
    ///
    /// # Errors
    /// [`PrivateDirError`] when it is a link, somebody else's, or cannot be made.
    pub fn make_runtime_dir(&self) -> Result<(), PrivateDirError> {
        make_private_dir(&self.runtime_dir)
    }

    /// The daemon's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.runtime_dir.join("daemon.sock")
    }

    /// Locked (`flock`) by the daemon as long as it lives.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.runtime_dir.join("daemon.lock")
    }

    /// Locked by a front end while it starts the daemon, so that two of them start one.
    #[must_use]
    pub fn start_lock_file(&self) -> PathBuf {
        self.runtime_dir.join("start.lock")
    }

    /// What the daemon writes to stderr.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.state_dir.join("daemon.log")
    }

    /// The encrypted vault.
    #[must_use]
    pub fn vault_file(&self) -> PathBuf {
        self.data_dir.join("vault.db")
    }

    /// Identity, allow-list and invitations of a cloud on this machine.
    #[must_use]
    pub fn cloud_dir(&self) -> PathBuf {
        self.data_dir.join("cloud")
    }

    /// Model kits by their SHA-256.
    #[must_use]
    pub fn kits_dir(&self) -> PathBuf {
        self.cache_dir.join("kits")
    }
}

/// `wanted` when sockets fit below it, else a hashed folder that is short.
fn short(wanted: PathBuf, temp: &Path, user: u32) -> PathBuf {
    if wanted.as_os_str().len() <= LONGEST_RUNTIME_DIR { wanted } else { hashed(temp, user, &wanted) }
}

/// `TEMP/aside-USER-HASH`. Guessing the name gains nothing: owner and mode are checked before use.
fn hashed(temp: &Path, user: u32, of: &Path) -> PathBuf {
    let name = format!("aside-{user}-{:016x}", fnv1a(of.as_os_str().as_bytes()));
    let path = temp.join(&name);
    if path.as_os_str().len() <= LONGEST_RUNTIME_DIR { path } else { Path::new("/tmp").join(name) }
}

/// FNV-1a, 64 bits: the same in every build, unlike the standard library's hasher.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn around(home: Option<&str>, xdg: Option<&str>) -> Surroundings {
        Surroundings {
            aside_home: home.map(Into::into),
            xdg_runtime_dir: xdg.map(Into::into),
            temp: "/tmp".into(),
            user: 7,
        }
    }

    #[test]
    fn aside_home_moves_everything() {
        let paths = Paths::from(&around(Some("/h"), Some("/run/user/7"))).unwrap();
        assert_eq!(paths, Paths::below(Path::new("/h"), Path::new("/tmp"), 7));
        for path in [&paths.config_file, &paths.data_dir, &paths.cache_dir, &paths.state_dir] {
            assert!(path.starts_with("/h"));
        }
        assert_eq!(paths.socket(), Path::new("/h/run/daemon.sock"));
        assert_eq!(paths.vault_file(), Path::new("/h/data/vault.db"));
    }

    #[test]
    fn a_relative_home_becomes_absolute() {
        let paths = Paths::from(&around(Some("portable"), None)).unwrap();
        assert!(paths.data_dir.is_absolute() && paths.data_dir.ends_with("portable/data"));
    }

    #[test]
    fn sockets_go_to_the_runtime_folder_or_a_private_temporary_one() {
        let with = Paths::from(&around(None, Some("/run/user/7"))).unwrap();
        assert_eq!(with.runtime_dir, Path::new("/run/user/7/aside"));
        let without = Paths::from(&around(None, None)).unwrap();
        assert!(without.runtime_dir.to_str().unwrap().starts_with("/tmp/aside-7-"));
    }

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    proptest! {
        #[test]
        fn sockets_always_fit(home in "/[a-z/]{1,200}", temp in "/[a-z/]{1,200}") {
            let paths = Paths::below(Path::new(&home), Path::new(&temp), u32::MAX);
            prop_assert!(paths.runtime_dir.join("x".repeat(40)).as_os_str().len() <= 103);
        }

        #[test]
        fn long_homes_do_not_share_sockets(one in "[a-z]{120}", other in "[a-z]{120}") {
            prop_assume!(one != other);
            let of = |name: &str| Paths::below(&Path::new("/h").join(name), Path::new("/tmp"), 7).runtime_dir;
            prop_assert_ne!(of(&one), of(&other));
        }
    }
}
