//! The way back to the clients, with a credit of bytes per connection: a slow reader slows its own answers down.

use super::super::{Limits, LinkError};
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
        let credit = self.credit(peer)?;
        // The relay gives it back when the bytes are out.
        credit.acquire_many(self.cost(&bytes)).await.map_err(|_| LinkError::Lost)?.forget();
        self.route(peer, bytes).await
    }

    /// Sends a small reply if there is credit for it, and never waits for any.
    pub(super) async fn offer(&self, peer: &Peer, reply: proto::Reply) {
        let bytes = reply.encode_to_vec();
        let Ok(credit) = self.credit(peer) else { return };
        let Ok(permit) = credit.try_acquire_many(self.cost(&bytes)) else { return };
        permit.forget();
        let _ = self.route(peer, bytes).await;
    }

    fn credit(&self, peer: &Peer) -> Result<Arc<Semaphore>, LinkError> {
        self.lines().get(peer).map(|l| Arc::clone(&l.credit)).ok_or(LinkError::Lost)
    }

    fn cost(&self, bytes: &[u8]) -> u32 {
        Limits::cost(bytes.len(), self.limits.unsent)
    }

    async fn route(&self, peer: &Peer, bytes: Vec<u8>) -> Result<(), LinkError> {
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

    /// Does `then` unless the connection is gone; it cannot go meanwhile.
    pub(super) fn while_here(&self, peer: &Peer, then: impl FnOnce()) {
        let lines = self.lines();
        if lines.contains_key(peer) {
            then();
        }
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
