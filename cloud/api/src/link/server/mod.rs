//! The cloud's end: a public listener, TLS, admission, and a relay per connection to one ROUTER on a private socket.

mod admit;
mod connection;
mod replies;
mod throttle;

pub use replies::Replies;

use super::address::Listener;
use super::inner::Inner;
use super::{Address, Limits, LinkError, tls};
use crate::identity::{Identity, PublicKey};
use crate::proto;
use connection::Shared;
use prost::Message;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use zeromq::{RouterRecvHalf, RouterSocket, Socket, SocketRecv};

/// Requests that wait for the service; a full queue slows the clients down.
const QUEUE: usize = 256;

/// Who may use this cloud.
pub trait Admission: Send + Sync {
    /// Whether a key is on the allow-list.
    fn allowed(&self, key: &PublicKey) -> bool;
    /// Uses an invitation up and adds the key to the allow-list; false when the secret is none.
    fn enroll(&self, key: &PublicKey, secret: &[u8]) -> bool;
}

/// How to serve.
pub struct ServerConfig {
    /// Where to listen; port 0 lets the system choose.
    pub address: Address,
    /// This cloud's identity.
    pub identity: Identity,
    /// Who may come in.
    pub admission: Arc<dyn Admission>,
    /// What is put up with.
    pub limits: Limits,
    /// A folder of mode 0700 for the inner socket.
    pub private_dir: PathBuf,
}

/// One connection of one client.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer {
    route: Arc<str>,
}

impl Peer {
    pub(super) fn new(key: &PublicKey, connection: u64) -> Self {
        Self { route: format!("k{}.{connection}", key.hash_hex()).into() }
    }

    /// The client's key as its hash: the same for all its connections.
    #[must_use]
    pub fn client(&self) -> &str {
        self.route.split('.').next().unwrap_or_default()
    }

    pub(super) fn route(&self) -> &str {
        &self.route
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.route)
    }
}

/// What the service sees.
#[derive(Debug)]
pub enum Incoming {
    /// A request of an admitted client.
    Request {
        /// Whose.
        peer: Peer,
        /// What.
        request: proto::Request,
    },
    /// A connection ended.
    Gone {
        /// Which.
        peer: Peer,
    },
}

/// A listening cloud. Dropping it closes everything.
pub struct Server {
    address: Address,
    incoming: mpsc::Receiver<Incoming>,
    replies: Replies,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Binds the inner and the public socket and starts accepting.
    ///
    /// # Errors
    /// [`LinkError::Io`] when a socket cannot be bound.
    pub async fn bind(config: ServerConfig) -> Result<Self, LinkError> {
        let tls = tls::server(&config.identity)?;
        let inner = Inner::new(&config.private_dir, 'r')?;
        inner.sweep().await;
        let mut router = RouterSocket::new();
        router.bind(&inner.endpoint()).await.map_err(|e| LinkError::Io(format!("the inner socket: {e}")))?;
        let listener = Listener::bind(&config.address)
            .await
            .map_err(|e| LinkError::Io(format!("{} cannot be listened at: {e}", config.address)))?;
        let address = listener.address(&config.address);
        let (out, from_router) = router.split();
        let (queue, incoming) = mpsc::channel(QUEUE);
        let replies = Replies::new(out, config.limits);
        let shared = Arc::new(Shared {
            admission: config.admission,
            limits: config.limits,
            inner,
            replies: replies.clone(),
            queue: queue.clone(),
            tls: tls.into(),
        });
        let tasks = vec![
            tokio::spawn(receive(from_router, queue, replies.clone())),
            tokio::spawn(connection::accept(listener, shared)),
        ];
        Ok(Self { address, incoming, replies, tasks })
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What comes next; `None` after the sockets failed.
    pub async fn recv(&mut self) -> Option<Incoming> {
        self.incoming.recv().await
    }

    /// The way back.
    #[must_use]
    pub fn replies(&self) -> Replies {
        self.replies.clone()
    }

    /// Closes everything.
    pub async fn shutdown(mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            // Aborted is what it should be.
            let _ = task.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// From the ROUTER to the service; a message that is no request costs its sender the connection. Never waits for a
/// client: one that does not read its replies must not stop the others.
async fn receive(mut router: RouterRecvHalf, queue: mpsc::Sender<Incoming>, replies: Replies) {
    while let Ok(message) = router.recv().await {
        let (Some(route), Some(body)) = (message.get(0), message.get(1)) else { continue };
        let Ok(route) = std::str::from_utf8(route) else { continue };
        let peer = Peer { route: route.into() };
        let request = match (proto::Request::decode(body.clone()), message.get(2)) {
            (Ok(request), None) => request,
            _ => {
                tracing::warn!(peer = ?peer, "not a request; dropping the connection");
                replies.drop_peer(&peer);
                continue;
            }
        };
        let id = request.id;
        let answer = match request.body {
            // Known already, else it would not be here: nothing is used up.
            Some(proto::request::Body::Enroll(_)) => proto::reply::Body::Enrolled(proto::Enrolled {}),
            // The link's own question, so that a busy service is not taken for a dead line.
            Some(proto::request::Body::Ping(_)) => proto::reply::Body::Pong(proto::Pong {}),
            _ => {
                let Ok(slot) = queue.reserve().await else { return };
                // Nothing of a connection comes after its `Gone`.
                replies.while_here(&peer, || slot.send(Incoming::Request { peer: peer.clone(), request }));
                continue;
            }
        };
        replies.offer(&peer, proto::Reply { id, body: Some(answer) }).await;
    }
}
