//! Work in progress on the engine: an answer or an encoding, and where its replies go.

use super::generation::Generation;
use super::session::Name;
use crate::engine::Sequence;
use aside_cloud_api::link::server::Peer;
use aside_cloud_api::proto::{DoneReason, Fault, reply};
use aside_cloud_api::sampling::Sampler;
use tokio::sync::mpsc::UnboundedSender;

/// The end of an exchange that replies leave by.
#[derive(Clone)]
pub(super) struct Outlet {
    pub(super) peer: Peer,
    /// Id of the exchange.
    pub(super) id: u64,
    pub(super) replies: UnboundedSender<reply::Body>,
}

impl Outlet {
    /// Sends; a connection that is gone is noticed by its own message.
    pub(super) fn send(&self, body: reply::Body) {
        let _ = self.replies.send(body);
    }

    pub(super) fn fault(&self, code: &str, message: impl Into<String>) {
        self.send(reply::Body::Fault(Fault { code: code.to_owned(), message: message.into() }));
    }

    pub(super) fn is(&self, peer: &Peer, id: u64) -> bool {
        self.peer == *peer && self.id == id
    }
}

/// A running answer.
pub(super) struct Answer {
    pub(super) outlet: Outlet,
    pub(super) session: Name,
    /// Its name across connections.
    pub(super) request: Vec<u8>,
    pub(super) sampler: Sampler,
    pub(super) generation: Generation,
    /// Engine time in microseconds, in all and since the last position.
    pub(super) cloud_us: u64,
    pub(super) position_us: u64,
    pub(super) prefill: u32,
    pub(super) cached: u32,
    pub(super) over: Option<Ending>,
}

/// How an answer is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its Done is to be sent.
    Done(DoneReason),
    /// A fault has ended the exchange.
    Fault,
}

impl Answer {
    /// Ends it by a fault.
    pub(super) fn fail(&mut self, code: &str, message: impl Into<String>) {
        self.outlet.fault(code, message);
        self.over = Some(Ending::Fault);
    }
}

/// A running encoding.
pub(super) struct Encoding {
    pub(super) outlet: Outlet,
    pub(super) sequence: Sequence,
    pub(super) tokens: Vec<u32>,
    /// Tokens fed so far.
    pub(super) at: usize,
    pub(super) from: usize,
    pub(super) cloud_us: u64,
    pub(super) over: bool,
}
