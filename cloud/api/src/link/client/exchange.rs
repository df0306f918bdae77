//! One request and its replies, told apart from others by its id.

use super::super::{Limits, LinkError};
use super::driver::{Answer, Command};
use crate::proto::{Cancel, KitChunk, reply, request};
use prost::Message;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};

/// Where the link puts the replies of one exchange: a queue with a credit of bytes.
#[derive(Clone)]
pub(super) struct Reader {
    answers: mpsc::UnboundedSender<Answer>,
    credit: Credit,
}

/// Room for replies that wait for their reader.
#[derive(Clone)]
struct Credit {
    left: Arc<Semaphore>,
    all: usize,
}

impl Credit {
    fn cost(&self, bytes: u64) -> u32 {
        Limits::cost(usize::try_from(bytes).unwrap_or(usize::MAX), self.all)
    }
}

impl Reader {
    /// Takes room for a reply of `bytes`, if there is.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.credit
            .left
            .try_acquire_many(self.credit.cost(bytes))
            .map(tokio::sync::SemaphorePermit::forget)
            .is_ok()
    }

    /// Waits for it.
    pub(super) async fn room(&self, bytes: u64) {
        if let Ok(permit) = self.credit.left.acquire_many(self.credit.cost(bytes)).await {
            permit.forget();
        }
    }

    /// A reply for which room was taken.
    pub(super) fn give(&self, body: reply::Body, bytes: u64) {
        // A reader that is gone says so by `Forget`.
        let _ = self.answers.send(Ok((body, bytes)));
    }

    /// The last word.
    pub(super) fn end(&self, error: LinkError) {
        let _ = self.answers.send(Err(error));
    }
}

/// A running exchange. Dropping it before its end cancels it.
pub struct Exchange {
    id: u64,
    commands: mpsc::UnboundedSender<Command>,
    replies: mpsc::UnboundedReceiver<Answer>,
    credit: Credit,
    ended: bool,
    up: std::sync::atomic::AtomicU64,
    down: u64,
}

impl Exchange {
    pub(super) fn start(
        id: u64,
        body: request::Body,
        commands: mpsc::UnboundedSender<Command>,
        unread: usize,
    ) -> Result<Self, LinkError> {
        let (answers, replies) = mpsc::unbounded_channel();
        let credit = Credit { left: Arc::new(Semaphore::new(unread)), all: unread };
        let reader = Reader { answers, credit: credit.clone() };
        let exchange = Self { id, commands, replies, credit, ended: false, up: 0.into(), down: 0 };
        exchange.command(body, |request| Command::Open(request, reader))?;
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
                self.credit.left.add_permits(self.credit.cost(bytes) as usize);
                self.ended |= is_last(&body);
                match body {
                    reply::Body::Fault(fault) => {
                        Err(LinkError::Fault { code: fault.code, message: fault.message })
                    }
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
