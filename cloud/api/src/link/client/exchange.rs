//! One request and its replies, told apart from others by its id.

use super::super::LinkError;
use super::driver::{Answer, Command};
use crate::proto::{Cancel, KitChunk, reply, request};
use prost::Message;
use tokio::sync::mpsc;

/// Replies that wait for their reader; a full queue slows the link down.
const QUEUE: usize = 1024;

/// A running exchange. Dropping it before its end cancels it.
pub struct Exchange {
    id: u64,
    commands: mpsc::UnboundedSender<Command>,
    replies: mpsc::Receiver<Answer>,
    ended: bool,
    up: std::sync::atomic::AtomicU64,
    down: u64,
}

impl Exchange {
    pub(super) fn start(
        id: u64,
        body: request::Body,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Result<Self, LinkError> {
        let (sender, replies) = mpsc::channel(QUEUE);
        let exchange = Self { id, commands, replies, ended: false, up: 0.into(), down: 0 };
        exchange.command(body, |request| Command::Open(request, sender))?;
        Ok(exchange)
    }

    fn command(
        &self,
        body: request::Body,
        command: impl FnOnce(crate::proto::Request) -> Command,
    ) -> Result<(), LinkError> {
        let request = crate::proto::Request { id: self.id, body: Some(body) };
        self.up.fetch_add(request.encoded_len() as u64, std::sync::atomic::Ordering::Relaxed);
        self.commands.send(command(request)).map_err(|_| LinkError::Closed)
    }

    /// The next reply.
    ///
    /// # Errors
    /// [`LinkError::Lost`] when the connection broke: resume with a new exchange. [`LinkError::Fault`] when the cloud
    /// ended it.
    pub async fn next(&mut self) -> Result<reply::Body, LinkError> {
        let answer = self.replies.recv().await.unwrap_or(Err(LinkError::Lost));
        match answer {
            Ok((body, bytes)) => {
                self.down += bytes;
                self.ended |= is_last(&body);
                match body {
                    reply::Body::Fault(fault) => Err(LinkError::Fault { code: fault.code, message: fault.message }),
                    body => Ok(body),
                }
            }
            Err(error) => {
                self.ended = true;
                Err(error)
            }
        }
    }

    /// Sends more under the same id: a choice, a cancel.
    ///
    /// # Errors
    /// [`LinkError::Closed`]. That the connection broke is told by [`Exchange::next`].
    pub fn send(&self, body: request::Body) -> Result<(), LinkError> {
        self.command(body, Command::Send)
    }

    /// Bytes of requests so far.
    #[must_use]
    pub fn bytes_up(&self) -> u64 {
        self.up.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Bytes of replies so far.
    #[must_use]
    pub fn bytes_down(&self) -> u64 {
        self.down
    }

    /// Nothing more is wanted and nothing is to be cancelled.
    pub(super) fn finish(&mut self) {
        self.ended = true;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.command(request::Body::Cancel(Cancel {}), Command::Send);
        }
        let _ = self.commands.send(Command::Forget(self.id));
    }
}

/// Whether nothing follows.
fn is_last(body: &reply::Body) -> bool {
    match body {
        reply::Body::Token(_) | reply::Body::OpenPosition(_) | reply::Body::EncodeChunk(_) => false,
        reply::Body::KitChunk(KitChunk { offset, total, data }) => offset + data.len() as u64 >= *total,
        _ => true,
    }
}
