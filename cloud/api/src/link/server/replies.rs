//! The way back to the clients, with a credit of bytes per connection: a slow reader slows its own answers down.

use super::super::{LinkError, Limits};
use super::Peer;
use crate::proto;
use bytes::Bytes;
use prost::Message;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, Semaphore};
use zeromq::{RouterSendHalf, SocketSend, ZmqMessage};

/// What is kept of a connection.
struct Line {
    credit: Arc<Semaphore>,
    dropped: Arc<Notify>,
}

/// A cheap handle.
#[derive(Clone)]
pub struct Replies {
    router: RouterSendHalf,
    lines: Arc<Mutex<HashMap<Peer, Line>>>,
    limits: Limits,
}

impl Replies {
    pub(super) fn new(router: RouterSendHalf, limits: Limits) -> Self {
        Self { router, lines: Arc::default(), limits }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Peer, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a reply once the connection has credit for it.
    ///
    /// # Errors
    /// [`LinkError::Lost`] when the connection is gone; [`LinkError::Protocol`] for a reply beyond the limits.
    pub async fn send(&self, peer: &Peer, reply: proto::Reply) -> Result<(), LinkError> {
        let bytes = reply.encode_to_vec();
        if bytes.len() > self.limits.message {
            return Err(LinkError::Protocol("a reply beyond the limits"));
        }
        let credit = self.lines().get(peer).map(|l| Arc::clone(&l.credit)).ok_or(LinkError::Lost)?;
        let wanted = bytes.len().min(self.limits.unsent) as u32;
        // The relay gives it back when the bytes are out.
        credit.acquire_many(wanted).await.map_err(|_| LinkError::Lost)?.forget();
        let route = Bytes::copy_from_slice(peer.route().as_bytes());
        let message = ZmqMessage::try_from(vec![route, Bytes::from(bytes)]).map_err(|_| LinkError::Lost)?;
        self.router.clone().send(message).await.map_err(|_| LinkError::Lost)
    }

    /// A new connection: its credit, and what tells it to end.
    pub(super) fn add(&self, peer: &Peer) -> (Arc<Semaphore>, Arc<Notify>) {
        let line = Line { credit: Arc::new(Semaphore::new(self.limits.unsent)), dropped: Arc::default() };
        let found = (Arc::clone(&line.credit), Arc::clone(&line.dropped));
        self.lines().insert(peer.clone(), line);
        found
    }

    /// The connection is gone: whoever waits for credit learns it.
    pub(super) fn remove(&self, peer: &Peer) {
        if let Some(line) = self.lines().remove(peer) {
            line.credit.close();
        }
    }

    /// Ends a connection.
    pub(super) fn drop_peer(&self, peer: &Peer) {
        if let Some(line) = self.lines().get(peer) {
            line.dropped.notify_one();
        }
    }
}
