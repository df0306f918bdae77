//! One daemon at a time: a lock that dies with the process, and a socket that only this user can use.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use aside_config::Paths;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};

/// Why there is no instance.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Another daemon holds the lock.
    #[error("another daemon runs already (lock {})", .0.display())]
    Running(PathBuf),
    /// Something answers on the socket, or it cannot be removed or made.
    #[error("the socket {} cannot be used: {cause}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The lock file cannot be used.
    #[error("the lock {} cannot be used: {cause}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// How often lock and socket are looked at again where they are taken, and how long after.
const LOOKS: u32 = 25;
const LOOK: Duration = Duration::from_millis(20);

/// Holds the lock.
pub(super) struct Instance {
    socket: PathBuf,
    _lock: File,
}

impl Instance {
    /// Takes the lock and writes the process number into it.
    pub(super) fn acquire(paths: &Paths) -> Result<Self, InstanceError> {
        let path = paths.lock_file();
        let failed = |cause| InstanceError::Lock { path: path.clone(), cause };
        let options = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let mut lock = options.map_err(failed)?;
        let mut left = LOOKS;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // A front end looks whether it is free by taking it for a moment.
                Err(TryLockError::WouldBlock) if left > 0 => {
                    left -= 1;
                    std::thread::sleep(LOOK);
                }
                Err(TryLockError::WouldBlock) => return Err(InstanceError::Running(path)),
                Err(TryLockError::Error(cause)) => return Err(failed(cause)),
            }
        }
        lock.set_len(0).map_err(failed)?;
        writeln!(lock, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { socket: paths.socket(), _lock: lock })
    }

    /// Makes the socket; one left behind is removed only when nobody answers on it.
    pub(super) async fn listen(&self) -> Result<UnixListener, InstanceError> {
        let failed = |cause| InstanceError::Socket { path: self.socket.clone(), cause };
        let mut left = LOOKS;
        loop {
            match UnixStream::connect(&self.socket).await.map_err(|error| (error.kind(), error)) {
                // One that was killed lets go of its lock a moment before its socket.
                Ok(_) | Err((io::ErrorKind::ConnectionReset, _)) if left > 0 => {
                    left -= 1;
                    tokio::time::sleep(LOOK).await;
                }
                Ok(_) => return Err(failed(io::ErrorKind::AddrInUse.into())),
                Err((io::ErrorKind::ConnectionRefused, _)) => {
                    std::fs::remove_file(&self.socket).map_err(failed)?;
                    break;
                }
                Err((io::ErrorKind::NotFound, _)) => break,
                Err((_, error)) => return Err(failed(error)),
            }
        }
        let listener = UnixListener::bind(&self.socket).map_err(failed)?;
        std::fs::set_permissions(&self.socket, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(listener)
    }

    /// Removes the socket; the lock goes with the process or this value.
    pub(super) fn release(self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Connections of this user; those of others are closed.
pub(super) fn accepted(listener: UnixListener) -> impl Stream<Item = io::Result<UnixStream>> {
    let own = rustix::process::geteuid().as_raw();
    UnixListenerStream::new(listener).filter(move |stream| match stream {
        Ok(stream) => stream.peer_cred().is_ok_and(|peer| peer.uid() == own),
        Err(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_daemon_is_refused_and_a_stale_socket_replaced() {
        let home = tempfile::tempdir().unwrap();
        let paths = Paths::under(home.path());
        paths.make_runtime_dir().unwrap();
        let first = Instance::acquire(&paths).unwrap();
        assert!(matches!(Instance::acquire(&paths), Err(InstanceError::Running(_))));
        let listener = first.listen().await.unwrap();
        let mode = std::fs::metadata(paths.socket()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(first.listen().await, Err(InstanceError::Socket { .. })), "somebody answers there");
        drop(listener);
        let again = first.listen().await.unwrap();
        drop(again);
        first.release();
        assert!(!paths.socket().exists());
        Instance::acquire(&paths).unwrap();
    }

    #[tokio::test]
    async fn what_is_no_socket_is_never_removed() {
        let home = tempfile::tempdir().unwrap();
        let paths = Paths::under(home.path());
        paths.make_runtime_dir().unwrap();
        std::fs::create_dir(paths.socket()).unwrap();
        let instance = Instance::acquire(&paths).unwrap();
        assert!(instance.listen().await.is_err());
        assert!(paths.socket().exists());
    }
}
