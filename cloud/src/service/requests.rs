//! From the link to the engine's thread and back: one short task per exchange forwards its replies, so that a slow
//! client waits alone.

use super::engine_thread::Order;
use super::work::Outlet;
use crate::engine::{Kit, Spec};
use aside_cloud_api::link::server::{Incoming, Peer, Replies, Server};
use aside_cloud_api::proto::{self, reply, request};
use aside_cloud_api::{PROTOCOL, fault};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, unbounded_channel};

/// Bytes of a kit in one message.
const KIT_CHUNK: usize = 256 << 10;
/// How often idle sessions are looked for.
const TICK: Duration = Duration::from_secs(60);

/// What answers requests.
pub(super) struct Desk {
    pub(super) orders: Sender<Order>,
    pub(super) replies: Replies,
    pub(super) kit: Kit,
    pub(super) model: proto::Model,
}

/// Describes a backbone to its clients.
pub(super) fn describe(spec: &Spec, kit: &Kit) -> proto::Model {
    proto::Model {
        id: spec.id.clone(),
        name: spec.name.clone(),
        hidden: spec.hidden as u32,
        vocab: spec.vocab as u32,
        layers: spec.layers as u32,
        taps: spec.taps.iter().map(|t| *t as u32).collect(),
        context: spec.context as u32,
        window: spec.window as u32,
        parameters: spec.parameters,
        kit: kit.sha256.clone(),
        kit_bytes: kit.bytes.len() as u64,
    }
}

impl Desk {
    /// Until the server or the engine ends.
    pub(super) async fn run(self, server: &mut Server) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            let order = tokio::select! {
                incoming = server.recv() => match incoming {
                    Some(Incoming::Gone { peer }) => Some(Order::Gone(peer)),
                    Some(Incoming::Request { peer, request }) => self.order(peer, request),
                    None => return,
                },
                _ = ticks.tick() => Some(Order::Tick),
            };
            if let Some(order) = order
                && self.orders.send(order).await.is_err()
            {
                return;
            }
        }
    }

    /// An order for the engine; what needs none is answered at once.
    fn order(&self, peer: Peer, request: proto::Request) -> Option<Order> {
        let id = request.id;
        match request.body? {
            request::Body::Choose(choose) => Some(Order::Choose(peer, id, choose)),
            request::Body::Cancel(_) => Some(Order::Cancel(peer, id)),
            request::Body::OpenSession(open) => Some(Order::OpenSession(self.outlet(peer, id), open)),
            request::Body::CloseSession(close) => {
                Some(Order::CloseSession(self.outlet(peer, id), close.session))
            }
            request::Body::Generate(generate) => Some(Order::Generate(self.outlet(peer, id), generate)),
            request::Body::Encode(encode) => Some(Order::Encode(self.outlet(peer, id), encode)),
            request::Body::Stats(_) => Some(Order::Stats(self.outlet(peer, id))),
            request::Body::Hello(hello) => {
                self.hello(&self.outlet(peer, id), &hello);
                None
            }
            request::Body::Ping(_) => {
                self.outlet(peer, id).send(reply::Body::Pong(proto::Pong {}));
                None
            }
            request::Body::FetchKit(fetch) => {
                self.kit(peer, id, &fetch);
                None
            }
            // Answered by the link.
            request::Body::Enroll(_) => None,
        }
    }

    fn outlet(&self, peer: Peer, id: u64) -> Outlet {
        let (replies, mut waiting) = unbounded_channel();
        let (link, to) = (self.replies.clone(), peer.clone());
        tokio::spawn(async move {
            while let Some(body) = waiting.recv().await {
                if link.send(&to, proto::Reply { id, body: Some(body) }).await.is_err() {
                    return;
                }
            }
        });
        Outlet { peer, id, replies }
    }

    fn hello(&self, outlet: &Outlet, hello: &proto::Hello) {
        if hello.protocol != PROTOCOL {
            let message = format!("this cloud speaks protocol {PROTOCOL}, the client {}", hello.protocol);
            return outlet.fault(fault::PROTOCOL, message);
        }
        let build = env!("CARGO_PKG_VERSION").to_owned();
        let reply = proto::HelloReply { protocol: PROTOCOL, build, model: Some(self.model.clone()) };
        outlet.send(reply::Body::Hello(reply));
    }

    /// Chunk by chunk at the client's pace.
    fn kit(&self, peer: Peer, id: u64, fetch: &proto::FetchKit) {
        let bytes = Arc::clone(&self.kit.bytes);
        let total = bytes.len() as u64;
        if fetch.sha256 != self.kit.sha256 || fetch.offset >= total {
            return self
                .outlet(peer, id)
                .fault(fault::UNKNOWN_KIT, "no such kit, or nothing of it behind the offset");
        }
        let (replies, offset) = (self.replies.clone(), fetch.offset as usize);
        tokio::spawn(async move {
            for (number, data) in bytes.get(offset..).unwrap_or(&[]).chunks(KIT_CHUNK).enumerate() {
                let offset = (offset + number * KIT_CHUNK) as u64;
                let chunk = proto::KitChunk { offset, total, data: data.to_vec() };
                let reply = proto::Reply { id, body: Some(reply::Body::KitChunk(chunk)) };
                if replies.send(&peer, reply).await.is_err() {
                    return;
                }
            }
        });
    }
}
