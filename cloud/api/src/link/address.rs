//! Where a cloud listens, and streams to and from there: TCP or a Unix socket, one code path above.

use crate::uri::tcp;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A place to listen at or connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host and port.
    Tcp(String, u16),
    /// A socket file.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: lacks a path".into()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => tcp(text).ok_or_else(|| "an address is HOST:PORT or unix:PATH".into()),
        }
    }
}

/// What TLS runs over.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A bound listener.
pub(super) enum Listener {
    Tcp(TcpListener),
    /// With the file and its number: another server's file of the same name is left alone.
    Unix(UnixListener, PathBuf, u64),
}

impl Listener {
    pub(super) async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(host, port) => Ok(Self::Tcp(TcpListener::bind((host.as_str(), *port)).await?)),
            Address::Unix(path) => {
                let listener = bind_unix(path).await?;
                Ok(Self::Unix(listener, path.clone(), std::fs::symlink_metadata(path)?.ino()))
            }
        }
    }

    /// With the port that the system chose.
    pub(super) fn address(&self, wanted: &Address) -> Address {
        match (self, wanted) {
            (Self::Tcp(listener), Address::Tcp(host, _)) => {
                Address::Tcp(host.clone(), listener.local_addr().map_or(0, |a| a.port()))
            }
            _ => wanted.clone(),
        }
    }

    /// The next connection and its source: an IP address, or nothing on a Unix socket.
    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Wire>, Option<std::net::IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                // Fails on a connection that is already gone, which its handshake finds out.
                let _ = stream.set_nodelay(true);
                Ok((Box::new(stream), Some(from.ip())))
            }
            Self::Unix(listener, ..) => Ok((Box::new(listener.accept().await?.0), None)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path, number) = self
            && std::fs::symlink_metadata(&*path).is_ok_and(|found| found.ino() == *number)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Binds a socket file for its owner alone; a stale file goes only when nobody answers there.
pub(super) async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
            match UnixStream::connect(path).await {
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
                _ => return Err(e),
            }
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

pub(super) async fn dial(address: &Address) -> io::Result<Box<dyn Wire>> {
    match address {
        Address::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
    }
}
