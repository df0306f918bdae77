//! The front end's end of the socket: connects, checks who listens, and asks what state the daemon is in.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::fault::Fault;
use crate::proto::aside_client::AsideClient;
use crate::proto::{StatusReply, StatusRequest};
use crate::{MAX_MESSAGE, PROTOCOL};

/// The generated client over our channel; clone it for calls at the same time.
pub type Rpc = AsideClient<Channel>;

/// How long a daemon that accepted the connection may take to say its status.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no connection to a daemon.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens: no socket, or one left behind.
    #[error("no daemon listens on {}", .0.display())]
    Unreachable(PathBuf),
    /// Another user's process listens.
    #[error("the process behind {} belongs to user {uid}, not to user {expected}", path.display())]
    ForeignPeer {
        /// The socket.
        path: PathBuf,
        /// Who listens.
        uid: u32,
        /// Who we are.
        expected: u32,
    },
    /// The socket cannot be used.
    #[error("cannot connect to {}: {cause}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Something listens that does not speak our protocol.
    #[error("what listens on {} is no daemon of Aside: {cause}", path.display())]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// Why.
        cause: String,
    },
}

/// What a daemon is to a front end of build `build`.
#[derive(Debug)]
pub enum Probe {
    /// It speaks our protocol and is of our build.
    Ready(Rpc, Box<StatusReply>),
    /// It is of another build or protocol and should be replaced.
    Stale(Rpc, Box<StatusReply>),
    /// Nobody is there.
    Unreachable,
}

/// Connects to the daemon on `socket`, and only to one that runs as this user.
///
/// # Errors
/// [`ConnectError::Unreachable`] when nobody listens, else what is in the way.
pub async fn connect(socket: &Path) -> Result<Rpc, ConnectError> {
    // First by hand, for an error with a type; the channel opens its own.
    drop(open(socket).await?);
    let path = socket.to_owned();
    // The address is never used: the connector always goes to the socket.
    let opened = Endpoint::from_static("http://aside.invalid")
        .connect_with_connector(tower::service_fn(move |_| {
            let path = path.clone();
            async move { open(&path).await.map(TokioIo::new).map_err(io::Error::other) }
        }))
        .await;
    let channel = match opened {
        Ok(channel) => channel,
        // It ended between the two connections.
        Err(_) if gone(socket).await => return Err(ConnectError::Unreachable(socket.to_owned())),
        Err(error) => {
            return Err(ConnectError::NoDaemon { path: socket.to_owned(), cause: error.to_string() });
        }
    };
    Ok(AsideClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE))
}

/// Connects and asks for the status.
///
/// # Errors
/// [`ConnectError`] when something is in the way; that nobody listens is an answer, not an error.
pub async fn probe(socket: &Path, build: &str) -> Result<Probe, ConnectError> {
    let mut rpc = match connect(socket).await {
        Ok(rpc) => rpc,
        Err(ConnectError::Unreachable(_)) => return Ok(Probe::Unreachable),
        Err(error) => return Err(error),
    };
    let no_daemon = |cause| ConnectError::NoDaemon { path: socket.to_owned(), cause };
    let status = match tokio::time::timeout(PATIENCE, rpc.status(StatusRequest {})).await {
        Ok(Ok(reply)) => Box::new(reply.into_inner()),
        // It ended between the connection and the question.
        Ok(Err(_)) if gone(socket).await => return Ok(Probe::Unreachable),
        Ok(Err(status)) => return Err(no_daemon(Fault::from(status).message)),
        Err(_) => return Err(no_daemon(format!("no status within {} s", PATIENCE.as_secs()))),
    };
    let same = status.build == build && status.protocol == PROTOCOL;
    Ok(if same { Probe::Ready(rpc, status) } else { Probe::Stale(rpc, status) })
}

async fn gone(socket: &Path) -> bool {
    matches!(open(socket).await, Err(ConnectError::Unreachable(_)))
}

async fn open(socket: &Path) -> Result<UnixStream, ConnectError> {
    let stream = UnixStream::connect(socket).await.map_err(|cause| match cause.kind() {
        // A reset: it was killed with us in its queue, and nobody has taken its place.
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
            ConnectError::Unreachable(socket.to_owned())
        }
        _ => ConnectError::Io { path: socket.to_owned(), cause },
    })?;
    let peer = stream.peer_cred().map_err(|cause| ConnectError::Io { path: socket.to_owned(), cause })?;
    check_peer(socket, peer.uid(), rustix::process::geteuid().as_raw())?;
    Ok(stream)
}

fn check_peer(socket: &Path, uid: u32, expected: u32) -> Result<(), ConnectError> {
    if uid == expected {
        return Ok(());
    }
    Err(ConnectError::ForeignPeer { path: socket.to_owned(), uid, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_user_may_listen() {
        assert!(check_peer(Path::new("/s"), 7, 7).is_ok());
        let error = check_peer(Path::new("/s"), 8, 7).unwrap_err();
        assert!(matches!(error, ConnectError::ForeignPeer { uid: 8, expected: 7, .. }));
    }
}
