//! A cloud on a real socket with the bundled backbone, its clients, and the plain loop that answers are held against.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use aside_cloud::engine::{Chunk, bundled};
use aside_cloud::service::{ModelSource, ServeConfig, serve};
use aside_cloud_api::codec::round_trip_z;
use aside_cloud_api::identity::Identity;
use aside_cloud_api::link::client::{Exchange, Link, LinkConfig};
use aside_cloud_api::link::{Address, Limits, LinkError};
use aside_cloud_api::proto::{self, DoneReason, GateMode, reply, request};
use aside_cloud_api::sampling::{Sampler, log_softmax};
use aside_cloud_api::uri::Uri;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub struct Cloud {
    pub dir: TempDir,
    pub uri: Uri,
    pub clients: Vec<Identity>,
    task: JoinHandle<()>,
}

impl Cloud {
    /// Two clients are on the list.
    pub async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let clients: Vec<Identity> = (0..2).map(|_| Identity::generate().unwrap()).collect();
        let config = ServeConfig {
            model: ModelSource::Bundled,
            address: Address::Tcp("127.0.0.1".into(), 0),
            state_dir: dir.path().join("state"),
            allow: clients.iter().map(Identity::public).collect(),
            private_dir: dir.path().join("s"),
            parent_pipe: false,
        };
        let (told, ready) = oneshot::channel();
        let task =
            tokio::spawn(async move { serve(config, |uri| told.send(uri.clone()).unwrap()).await.unwrap() });
        let uri = ready.await.unwrap();
        Self { dir, uri, clients, task }
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A link that need not come up.
    pub fn connect(&self, identity: &Identity, secret: Option<Vec<u8>>) -> Link {
        Link::start(LinkConfig {
            address: self.uri.address.clone(),
            server_key: self.uri.key,
            identity: identity.clone(),
            secret,
            private_dir: self.dir.path().join("c"),
            limits: Limits::default(),
            build: "test".into(),
        })
    }

    pub async fn link(&self, client: usize) -> Link {
        let link = self.connect(&self.clients[client], None);
        link.ready().await.unwrap();
        link
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn prompt(n: usize, seed: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * i * 31 + i * 7919 + seed * 104_729) % 6144) as u32).collect()
}

pub fn greedy() -> proto::Sampling {
    proto::Sampling { top_p: 1.0, ..Default::default() }
}

pub fn seeded(seed: u64) -> proto::Sampling {
    proto::Sampling { temperature: 0.9, top_k: 40, top_p: 0.95, seed, turn: 3, attempt: 1 }
}

/// A request with a name of its own.
pub fn generate(session: u64, prompt: &[u32], sampling: proto::Sampling, max_tokens: u32) -> proto::Generate {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let request = u128::from(NEXT.fetch_add(1, Ordering::Relaxed)).to_le_bytes().to_vec();
    let prompt = prompt.to_vec();
    proto::Generate {
        session,
        request,
        prompt,
        generated: vec![],
        sampling: Some(sampling),
        max_tokens,
        stop: vec![],
        opened: 0,
    }
}

pub async fn open(
    link: &Link,
    session: u64,
    mode: GateMode,
    gate: Option<proto::Gate>,
) -> Result<(), LinkError> {
    let body = request::Body::OpenSession(proto::OpenSession { session, mode: mode as i32, gate });
    assert!(matches!(link.call(body).await?, reply::Body::SessionOpened(_)));
    Ok(())
}

#[derive(Debug, Default)]
pub struct Answer {
    pub tokens: Vec<u32>,
    pub p: Vec<Option<f32>>,
    pub opened: Vec<proto::OpenPosition>,
    pub done: proto::Done,
}

impl Answer {
    pub fn reason(&self) -> DoneReason {
        self.done.reason()
    }
}

/// Reads an answer to its end; `choose` decides open positions.
pub async fn answer(
    link: &Link,
    generate: proto::Generate,
    choose: impl Fn(&proto::OpenPosition) -> u32,
) -> Result<Answer, LinkError> {
    let mut next = generate.generated.len() as u32;
    let mut exchange = link.open(request::Body::Generate(generate)).await?;
    let mut answer = Answer::default();
    loop {
        match exchange.next().await? {
            reply::Body::Token(token) => {
                assert_eq!(token.index, next);
                assert_eq!(token.top.len(), 5);
                answer.tokens.push(token.id);
                answer.p.push(token.p);
            }
            reply::Body::OpenPosition(position) => {
                assert_eq!(position.index, next);
                let id = choose(&position);
                exchange.send(request::Body::Choose(proto::Choose { index: next, id })).unwrap();
                answer.tokens.push(id);
                answer.p.push(position.p);
                answer.opened.push(position);
            }
            reply::Body::Done(done) => return Ok(Answer { done, ..answer }),
            other => panic!("{other:?}"),
        }
        next += 1;
    }
}

/// An answer in a new session of its own, closed.
pub async fn closed(link: &Link, session: u64, request: proto::Generate) -> Answer {
    open(link, session, GateMode::Closed, None).await.unwrap();
    answer(link, proto::Generate { session, ..request }, |_| unreachable!()).await.unwrap()
}

/// Waits for the open position that comes next.
pub async fn position(exchange: &mut Exchange) -> proto::OpenPosition {
    match exchange.next().await.unwrap() {
        reply::Body::OpenPosition(position) => position,
        other => panic!("{other:?}"),
    }
}

/// The code of a fault.
pub fn code<T: std::fmt::Debug>(result: Result<T, LinkError>) -> String {
    match result {
        Err(LinkError::Fault { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

/// The same answer by a plain loop over the engine, one position at a time.
pub fn direct(prompt: &[u32], sampling: &proto::Sampling, max_tokens: u32) -> Vec<u32> {
    let mut engine = bundled().unwrap().backbone;
    let (sequence, hidden) = (engine.begin().unwrap(), engine.spec().hidden);
    let (mut tokens, mut fed) = (prompt.to_vec(), 0);
    for index in 0..max_tokens {
        let out = engine.forward(&[Chunk { sequence, tokens: &tokens[fed..] }]).unwrap().remove(0);
        fed = tokens.len();
        let mut z = out.z[out.z.len() - hidden..].to_vec();
        round_trip_z(&mut z);
        let mut log_probs = engine.head(&z).unwrap();
        log_softmax(&mut log_probs);
        tokens.push(Sampler::from(sampling).choose(&log_probs, index));
    }
    tokens.split_off(prompt.len())
}
