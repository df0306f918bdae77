//! From the link to the engine's thread and back: one short task per exchange forwards its replies, so that a slow
//! client waits alone.

use super::engine_thread::Order;
use super::work::Outlet;
use crate::engine::{Kit, Spec};
use aside_cloud_api::link::server::{Incoming, Peer, Replies, Server};
use aside_cloud_api::proto::{self, reply, request};
use aside_cloud_api::{PROTOCOL, fault};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, unbounded_channel};

/// Bytes of a kit in one message.
const KIT_CHUNK: usize = 256 << 10;
/// Exchanges of one client whose replies are not all on their way; far beyond what a daemon has.
const UNREAD: usize = 64;
/// How often idle sessions are looked for.
const TICK: Duration = Duration::from_secs(60);

/// What answers requests.
pub(super) struct Desk {
    pub(super) orders: Sender<Order>,
    pub(super) replies: Replies,
    pub(super) kit: Kit,
    pub(super) model: proto::Model,
    /// By client: as many handles as it has exchanges, and one.
    pub(super) exchanges: HashMap<String, Arc<()>>,
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
    pub(super) async fn run(mut self, server: &mut Server) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            let order = tokio::select! {
                incoming = server.recv() => match incoming {
                    Some(Incoming::Gone { peer }) => {
                        self.exchanges.retain(|_, handles| Arc::strong_count(handles) > 1);
                        Some(Order::Gone(peer))
                    }
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
    fn order(&mut self, peer: Peer, request: proto::Request) -> Option<Order> {
        let id = request.id;
        let body = match request.body? {
            request::Body::Choose(choose) => return Some(Order::Choose(peer, id, choose)),
            request::Body::Cancel(_) => return Some(Order::Cancel(peer, id)),
            body => body,
        };
        let handle = self.handle(&peer)?;
        match body {
            request::Body::Choose(_) | request::Body::Cancel(_) => None,
            request::Body::OpenSession(open) => Some(Order::OpenSession(self.outlet(peer, id, handle), open)),
            request::Body::CloseSession(close) => {
                Some(Order::CloseSession(self.outlet(peer, id, handle), close.session))
            }
            request::Body::Generate(generate) => {
                Some(Order::Generate(self.outlet(peer, id, handle), generate))
            }
            request::Body::Encode(encode) => Some(Order::Encode(self.outlet(peer, id, handle), encode)),
            request::Body::Stats(_) => Some(Order::Stats(self.outlet(peer, id, handle))),
            request::Body::Hello(hello) => {
                self.hello(&self.outlet(peer, id, handle), &hello);
                None
            }
            request::Body::Ping(_) => {
                self.outlet(peer, id, handle).send(reply::Body::Pong(proto::Pong {}));
                None
            }
            request::Body::FetchKit(fetch) => {
                self.kit(peer, id, handle, &fetch);
                None
            }
            // Answered by the link.
            request::Body::Enroll(_) => None,
        }
    }

    /// Counts an exchange in; `None` for a client that asks and asks and reads nothing: nobody would read a fault either.
    fn handle(&mut self, peer: &Peer) -> Option<Arc<()>> {
        let handles = self.exchanges.entry(peer.client().to_owned()).or_default();
        if Arc::strong_count(handles) > UNREAD {
            tracing::warn!(client = peer.client(), "a request is passed over: this client reads no replies");
            return None;
        }
        Some(Arc::clone(handles))
    }

    fn outlet(&self, peer: Peer, id: u64, handle: Arc<()>) -> Outlet {
        let (replies, mut waiting) = unbounded_channel();
        let (link, to) = (self.replies.clone(), peer.clone());
        tokio::spawn(async move {
            let _handle = handle;
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
    fn kit(&self, peer: Peer, id: u64, handle: Arc<()>, fetch: &proto::FetchKit) {
        let bytes = Arc::clone(&self.kit.bytes);
        let total = bytes.len() as u64;
        if fetch.sha256 != self.kit.sha256 || fetch.offset >= total {
            return self
                .outlet(peer, id, handle)
                .fault(fault::UNKNOWN_KIT, "no such kit, or nothing of it behind the offset");
        }
        let (replies, offset) = (self.replies.clone(), fetch.offset as usize);
        tokio::spawn(async move {
            let _handle = handle;
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
