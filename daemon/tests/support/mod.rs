//! A cloud for tests: the real link and the real bundled backbone below a service that can be stalled and killed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aside_cloud::engine::{Backbone, Chunk, Kit, bundled};
use aside_cloud_api::codec::round_trip_z;
use aside_cloud_api::identity::{Identity, PublicKey};
use aside_cloud_api::link::server::{Admission, Incoming, Peer, Replies, Server, ServerConfig};
use aside_cloud_api::link::{Address, Limits};
use aside_cloud_api::proto::{self, DoneReason, GateMode, reply, request};
use aside_cloud_api::sampling::{Sampler, log_softmax, top};
use aside_cloud_api::{PROTOCOL, uri::Uri};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The engine, loaded once for all tests.
struct Engine {
    backbone: Mutex<Box<dyn Backbone>>,
    kit: Kit,
}

fn engine() -> Arc<Engine> {
    static ENGINE: std::sync::OnceLock<Arc<Engine>> = std::sync::OnceLock::new();
    let load = || {
        let loaded = bundled().unwrap();
        Arc::new(Engine { backbone: Mutex::new(loaded.backbone), kit: loaded.kit })
    };
    Arc::clone(ENGINE.get_or_init(load))
}

struct Only(PublicKey);

impl Admission for Only {
    fn allowed(&self, key: &PublicKey) -> bool {
        *key == self.0
    }

    fn enroll(&self, _: &PublicKey, _: &[u8]) -> bool {
        false
    }
}

/// How a test cloud behaves.
#[derive(Clone)]
pub(crate) struct CloudConfig {
    /// Folder of its sockets.
    pub(crate) folder: PathBuf,
    /// Its identity.
    pub(crate) identity: Identity,
    /// The one client.
    pub(crate) client: PublicKey,
    /// Says nothing from this position of an answer on, for ever.
    pub(crate) stall_at: Option<u32>,
}

type Exchanges = Arc<Mutex<HashMap<(Peer, u64), mpsc::UnboundedSender<request::Body>>>>;

/// Serves until the task is aborted.
pub(crate) async fn serve(config: CloudConfig, ready: tokio::sync::oneshot::Sender<Uri>) {
    let address = Address::Unix(socket(&config.folder));
    let _ = std::fs::remove_file(socket(&config.folder));
    let mut server = Server::bind(ServerConfig {
        address: address.clone(),
        identity: config.identity.clone(),
        admission: Arc::new(Only(config.client)),
        limits: Limits::default(),
        private_dir: config.folder.join("p"),
    })
    .await
    .unwrap();
    let _ = ready.send(Uri { address, key: config.identity.public(), secret: None });
    let exchanges = Exchanges::default();
    let mut sessions: HashMap<u64, proto::OpenSession> = HashMap::new();
    let mut tasks = JoinSet::new();
    while let Some(incoming) = server.recv().await {
        let Incoming::Request { peer, request } = incoming else { continue };
        let way = Way { replies: server.replies(), peer: peer.clone(), id: request.id };
        match request.body.unwrap() {
            request::Body::Hello(_) => way.send(reply::Body::Hello(hello())).await,
            request::Body::Ping(_) => way.send(reply::Body::Pong(proto::Pong {})).await,
            request::Body::FetchKit(wanted) => way.kit(wanted.offset).await,
            request::Body::OpenSession(session) => {
                sessions.insert(session.session, session);
                way.send(reply::Body::SessionOpened(proto::SessionOpened {})).await;
            }
            request::Body::CloseSession(session) => {
                sessions.remove(&session.session);
                way.send(reply::Body::SessionClosed(proto::SessionClosed {})).await;
            }
            request::Body::Generate(generate) => match sessions.get(&generate.session).cloned() {
                None => way.fault(aside_cloud_api::fault::NO_SESSION).await,
                Some(session) => {
                    let (sender, inbox) = mpsc::unbounded_channel();
                    exchanges.lock().unwrap().insert((peer, request.id), sender);
                    tasks.spawn(answer(way, session, generate, inbox, config.stall_at));
                }
            },
            body => {
                if let Some(exchange) = exchanges.lock().unwrap().get(&(peer, request.id)) {
                    let _ = exchange.send(body);
                }
            }
        }
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("c.sock")
}

fn hello() -> proto::HelloReply {
    let engine = engine();
    let backbone = engine.backbone.lock().unwrap();
    let spec = backbone.spec();
    let model = proto::Model {
        id: spec.id.clone(),
        name: spec.name.clone(),
        hidden: spec.hidden as u32,
        vocab: spec.vocab as u32,
        layers: spec.layers as u32,
        taps: spec.taps.iter().map(|tap| *tap as u32).collect(),
        context: spec.context as u32,
        window: spec.window as u32,
        parameters: spec.parameters,
        kit: engine.kit.sha256.clone(),
        kit_bytes: engine.kit.bytes.len() as u64,
    };
    proto::HelloReply { protocol: PROTOCOL, build: "test".into(), model: Some(model) }
}

/// The way back of one exchange.
struct Way {
    replies: Replies,
    peer: Peer,
    id: u64,
}

impl Way {
    async fn send(&self, body: reply::Body) {
        let _ = self.replies.send(&self.peer, proto::Reply { id: self.id, body: Some(body) }).await;
    }

    async fn fault(&self, code: &str) {
        self.send(reply::Body::Fault(proto::Fault { code: code.into(), message: String::new() })).await;
    }

    async fn kit(&self, offset: u64) {
        let bytes = engine().kit.bytes.clone();
        let mut at = offset as usize;
        for data in bytes[at..].chunks(256 << 10) {
            let chunk = proto::KitChunk { offset: at as u64, total: bytes.len() as u64, data: data.to_vec() };
            at += data.len();
            self.send(reply::Body::KitChunk(chunk)).await;
        }
    }

    async fn done(&self, reason: DoneReason) {
        let done = proto::Done { reason: reason.into(), cloud_us: 10, ..proto::Done::default() };
        self.send(reply::Body::Done(done)).await;
    }
}

async fn answer(
    way: Way,
    session: proto::OpenSession,
    generate: proto::Generate,
    mut inbox: mpsc::UnboundedReceiver<request::Body>,
    stall_at: Option<u32>,
) {
    let engine = engine();
    let sequence = engine.backbone.lock().unwrap().begin().unwrap();
    let sampler = Sampler::from(&generate.sampling.unwrap());
    let mut feed = [generate.prompt, generate.generated.clone()].concat();
    let mut index = generate.generated.len() as u32;
    let reason = loop {
        if index >= generate.max_tokens {
            break DoneReason::Length;
        }
        if stall_at == Some(index) {
            std::future::pending::<()>().await;
        }
        let (state, choice, log_probs) = step(&engine, sequence, &feed, &sampler, index);
        let id = if session.mode() == GateMode::Closed {
            let token = proto::Token { index, id: choice, p: None, top: top(&log_probs, 5), cloud_us: 1 };
            way.send(reply::Body::Token(token)).await;
            choice
        } else {
            let open =
                proto::OpenPosition { index, choice, state, cloud_us: 1, ..proto::OpenPosition::default() };
            way.send(reply::Body::OpenPosition(open)).await;
            match inbox.recv().await {
                Some(request::Body::Choose(choose)) if choose.index == index => choose.id,
                _ => break DoneReason::Cancelled,
            }
        };
        index += 1;
        if generate.stop.contains(&id) {
            break DoneReason::Stop;
        }
        if inbox.try_recv().is_ok() {
            break DoneReason::Cancelled;
        }
        feed = vec![id];
    };
    engine.backbone.lock().unwrap().end(sequence);
    way.done(reason).await;
}

fn step(
    engine: &Engine,
    sequence: aside_cloud::engine::Sequence,
    feed: &[u32],
    sampler: &Sampler,
    index: u32,
) -> (Vec<u8>, u32, Vec<f32>) {
    let mut backbone = engine.backbone.lock().unwrap();
    let hidden = backbone.forward(&[Chunk { sequence, tokens: feed }]).unwrap().remove(0);
    let layout = backbone.spec().layout;
    let taps = &hidden.taps[hidden.taps.len() - layout.layer_taps * layout.hidden..];
    let mut z = hidden.z[hidden.z.len() - layout.hidden..].to_vec();
    round_trip_z(&mut z);
    let mut state = Vec::new();
    layout.encode(taps, &z, &mut state);
    let mut log_probs = backbone.head(&z).unwrap();
    log_softmax(&mut log_probs);
    (state, sampler.choose(&log_probs, index), log_probs)
}
