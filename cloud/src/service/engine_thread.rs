//! The engine's thread: takes orders, and between them runs what is ready.

use super::session::{Name, Sessions};
use super::work::{Answer, Encoding, Ending, Outlet};
use crate::engine::Backbone;
use aside_cloud_api::link::server::Peer;
use aside_cloud_api::proto::{self, DoneReason, reply};
use std::collections::BTreeSet;
use std::time::Instant;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

/// What the async side asks.
pub(super) enum Order {
    OpenSession(Outlet, proto::OpenSession),
    CloseSession(Outlet, u64),
    Generate(Outlet, proto::Generate),
    Choose(Peer, u64, proto::Choose),
    Cancel(Peer, u64),
    Encode(Outlet, proto::Encode),
    Stats(Outlet),
    Gone(Peer),
    /// Time has passed.
    Tick,
}

/// Everything the thread owns.
pub(super) struct Engine {
    pub(super) backbone: Box<dyn Backbone>,
    pub(super) sessions: Sessions,
    pub(super) answers: Vec<Answer>,
    pub(super) encodings: Vec<Encoding>,
    pub(super) started: Instant,
    pub(super) counts: proto::Stats,
    pub(super) steps: u64,
    pub(super) batched: u64,
}

/// Runs until every sender of orders is gone.
pub(super) fn run(backbone: Box<dyn Backbone>, mut orders: Receiver<Order>) {
    let mut engine = Engine {
        backbone,
        sessions: Sessions::default(),
        answers: Vec::new(),
        encodings: Vec::new(),
        started: Instant::now(),
        counts: proto::Stats::default(),
        steps: 0,
        batched: 0,
    };
    loop {
        if !engine.ready() {
            match orders.blocking_recv() {
                Some(order) => engine.take(order),
                None => return,
            }
        }
        loop {
            match orders.try_recv() {
                Ok(order) => engine.take(order),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        engine.step();
    }
}

impl Engine {
    fn ready(&self) -> bool {
        !self.encodings.is_empty() || self.answers.iter().any(|a| !a.generation.feed(1).is_empty())
    }

    /// Says Done for answers that are over and drops what is.
    pub(super) fn sweep(&mut self) {
        self.answers.retain(|answer| match answer.over {
            Some(Ending::Done(reason)) => {
                tracing::info!(
                    client = answer.outlet.peer.client(),
                    tokens = answer.generation.index(),
                    prefill = answer.prefill,
                    cached = answer.cached,
                    cloud_us = answer.cloud_us,
                    reason = reason.as_str_name(),
                    "an answer ended"
                );
                answer.outlet.send(done(reason, answer.cloud_us, answer.prefill, answer.cached));
                false
            }
            Some(Ending::Fault) => false,
            None => true,
        });
        for encoding in self.encodings.iter().filter(|e| e.over) {
            self.backbone.end(encoding.sequence);
        }
        self.encodings.retain(|e| !e.over);
    }
}

/// Sessions that an answer runs in.
pub(super) fn busy(answers: &[Answer]) -> BTreeSet<Name> {
    answers.iter().map(|a| a.session.clone()).collect()
}

pub(super) fn done(
    reason: DoneReason,
    cloud_us: u64,
    prefill_tokens: u32,
    cached_tokens: u32,
) -> reply::Body {
    reply::Body::Done(proto::Done { reason: reason as i32, cloud_us, prefill_tokens, cached_tokens })
}
