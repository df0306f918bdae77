//! Peers that hold a valid key and break the rules behind it: scripted over real TLS, against the real other end.

use super::address::{Listener, Wire, dial};
use super::client::{Link, LinkConfig, State};
use super::server::{Admission, Incoming, Server, ServerConfig};
use super::{Address, Limits, LinkError, tls, zmtp};
use crate::identity::{Identity, PublicKey};
use crate::proto::{self, reply, request};
use crate::{PROTOCOL, fault};
use prost::Message;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// A frame header that announces 2^36 bytes.
const HUGE: [u8; 9] = [2, 0, 0, 0, 0x10, 0, 0, 0, 0];

/// Knows one key; one invitation, counted.
struct Lists {
    known: Mutex<Vec<PublicKey>>,
    used: AtomicUsize,
}

impl Admission for Lists {
    fn allowed(&self, key: &PublicKey) -> bool {
        self.known.lock().unwrap().contains(key)
    }

    fn enroll(&self, key: &PublicKey, secret: &[u8]) -> bool {
        let good = secret == b"invitation";
        if good {
            self.used.fetch_add(1, Ordering::Relaxed);
            self.known.lock().unwrap().push(*key);
        }
        good
    }
}

struct Place {
    dir: tempfile::TempDir,
    cloud: Identity,
    device: Identity,
    lists: Arc<Lists>,
    limits: Limits,
}

impl Place {
    fn new() -> Self {
        let device = Identity::generate().unwrap();
        let lists = Lists { known: Mutex::new(vec![device.public()]), used: AtomicUsize::new(0) };
        let (dir, cloud) = (tempfile::tempdir().unwrap(), Identity::generate().unwrap());
        Self { dir, cloud, device, lists: Arc::new(lists), limits: Limits::default() }
    }

    fn address(&self) -> Address {
        Address::Unix(self.dir.path().join("cloud.sock"))
    }

    async fn server(&self) -> Server {
        let (identity, admission) = (self.cloud.clone(), Arc::<Lists>::clone(&self.lists));
        let (limits, private_dir) = (self.limits, self.dir.path().join("s"));
        Server::bind(ServerConfig { address: self.address(), identity, admission, limits, private_dir })
            .await
            .unwrap()
    }

    /// TLS as a device would, then nothing.
    async fn dial(&self, identity: &Identity) -> client::TlsStream<Box<dyn Wire>> {
        let config = tls::client(identity, self.cloud.public()).unwrap();
        TlsConnector::from(config).connect(tls::name(), dial(&self.address()).await.unwrap()).await.unwrap()
    }

    /// And ZMTP.
    async fn peer(&self, identity: &Identity) -> client::TlsStream<Box<dyn Wire>> {
        let mut stream = self.dial(identity).await;
        zmtp::handshake(&mut stream, "DEALER", None).await.unwrap();
        stream
    }

    fn link(&self) -> Link {
        Link::start(LinkConfig {
            address: self.address(),
            server_key: self.cloud.public(),
            identity: self.device.clone(),
            secret: None,
            private_dir: self.dir.path().join("c"),
            limits: self.limits,
            build: "test".into(),
        })
    }
}

fn request(id: u64, body: request::Body) -> Vec<Vec<u8>> {
    vec![proto::Request { id, body: Some(body) }.encode_to_vec()]
}

fn hello() -> request::Body {
    request::Body::Hello(proto::Hello { protocol: PROTOCOL, build: String::new() })
}

async fn reply_to(stream: &mut client::TlsStream<Box<dyn Wire>>) -> reply::Body {
    let parts = zmtp::receive(stream, &Limits::default()).await.unwrap().unwrap();
    proto::Reply::decode(parts[0].as_slice()).unwrap().body.unwrap()
}

/// Bytes that a known client sends after its handshake, each of which must end its connection and nothing else.
#[tokio::test]
async fn a_client_that_breaks_the_limits_is_cut_off_alone() {
    let place = Place::new();
    let mut server = place.server().await;
    let mut honest = place.peer(&place.device).await;
    let long = |more: u8, length: u64| [&[2 | more][..], &length.to_be_bytes()].concat();
    let half = vec![0; 2 << 20];
    let sins: [Vec<u8>; 6] = [
        HUGE.to_vec(),
        // A message of three parts of 2 MiB, another of nine empty parts.
        [long(1, 2 << 20), half.clone(), long(1, 2 << 20), half, long(0, 2 << 20)].concat(),
        [1, 0].repeat(9),
        // A command after READY, unknown flags, and a message that is no request.
        vec![4, 1, 5],
        vec![0x80, 0],
        vec![0, 3, 0xff, 0xff, 0xff],
    ];
    for sin in sins {
        let mut stream = place.peer(&place.device).await;
        zmtp::send(&mut stream, &request(1, hello())).await.unwrap();
        let Some(Incoming::Request { peer, .. }) = server.recv().await else { panic!("no request") };
        // The server may hang up while we still write.
        let _ = stream.write_all(&sin).await;
        let _ = stream.flush().await;
        let Some(Incoming::Gone { peer: gone }) = server.recv().await else { panic!("not gone: {sin:?}") };
        assert_eq!(peer, gone);
        assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)), "still connected");
        let pong = proto::Reply { id: 1, body: Some(reply::Body::Pong(proto::Pong {})) };
        assert_eq!(server.replies().send(&gone, pong).await, Err(LinkError::Lost));
    }
    zmtp::send(&mut honest, &request(7, request::Body::Ping(proto::Ping {}))).await.unwrap();
    assert!(matches!(reply_to(&mut honest).await, reply::Body::Pong(_)));
}

#[tokio::test]
async fn the_route_is_the_key_whatever_the_client_calls_itself() {
    let place = Place::new();
    let mut server = place.server().await;
    let mut victim = place.peer(&place.device).await;
    zmtp::send(&mut victim, &request(1, hello())).await.unwrap();
    let Some(Incoming::Request { peer: first, .. }) = server.recv().await else { panic!("no request") };
    // Another connection claims the route of the first in its READY.
    let mut thief = place.dial(&place.device).await;
    zmtp::handshake(&mut thief, "DEALER", Some(&format!("{first:?}"))).await.unwrap();
    zmtp::send(&mut thief, &request(2, hello())).await.unwrap();
    let Some(Incoming::Request { peer: second, .. }) = server.recv().await else { panic!("no request") };
    assert_ne!(first, second);
    assert_eq!(first.client(), format!("k{}", place.device.public().hash_hex()));
    assert_eq!(first.client(), second.client());
    let done = proto::Reply { id: 1, body: Some(reply::Body::Done(proto::Done::default())) };
    server.replies().send(&first, done).await.unwrap();
    assert!(matches!(reply_to(&mut victim).await, reply::Body::Done(_)));
}

#[tokio::test]
async fn an_unknown_key_gets_one_enroll_and_no_more() {
    let place = Place::new();
    let mut server = place.server().await;
    let stranger = Identity::generate().unwrap();
    let enroll = |secret: &[u8]| request(5, request::Body::Enroll(proto::Enroll { secret: secret.to_vec() }));
    for first in [request(5, hello()), enroll(b"guess"), enroll(&[7; 300]), enroll(&[7; 5000])] {
        let mut stream = place.peer(&stranger).await;
        zmtp::send(&mut stream, &first).await.unwrap();
        let reply::Body::Fault(fault) = reply_to(&mut stream).await else { panic!("no fault") };
        assert_eq!(fault.code, fault::UNAUTHORISED);
        // A second try on the same connection goes nowhere.
        let _ = zmtp::send(&mut stream, &enroll(b"invitation")).await;
        assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)), "still connected");
    }
    assert_eq!(place.lists.used.load(Ordering::Relaxed), 0);
    let mut stream = place.peer(&stranger).await;
    for _ in 0..2 {
        zmtp::send(&mut stream, &enroll(b"invitation")).await.unwrap();
        assert!(matches!(reply_to(&mut stream).await, reply::Body::Enrolled(_)));
    }
    assert_eq!(place.lists.used.load(Ordering::Relaxed), 1);
    zmtp::send(&mut stream, &request(6, hello())).await.unwrap();
    // The first and only thing that the service ever saw of this key.
    let Some(Incoming::Request { peer, request }) = server.recv().await else { panic!("no request") };
    assert_eq!((peer.client(), request.id), (format!("k{}", stranger.public().hash_hex()).as_str(), 6));
}

#[tokio::test]
async fn unfinished_handshakes_and_silent_clients_are_let_go() {
    let mut place = Place::new();
    place.limits.unauthenticated = 1;
    place.limits.handshake = Duration::from_millis(400);
    place.limits.heartbeat = (Duration::from_millis(20), Duration::from_millis(50));
    let mut server = place.server().await;
    let mut idle = dial(&place.address()).await.unwrap();
    // The one place is taken: the next is turned away at once, and may come when the first one's time is over.
    let mut next = dial(&place.address()).await.unwrap();
    assert!(matches!(next.read(&mut [0]).await, Ok(0) | Err(_)));
    assert!(matches!(idle.read(&mut [0]).await, Ok(0) | Err(_)));
    let mut silent = place.peer(&place.device).await;
    zmtp::send(&mut silent, &request(1, hello())).await.unwrap();
    assert!(matches!(server.recv().await, Some(Incoming::Request { .. })));
    assert!(matches!(server.recv().await, Some(Incoming::Gone { .. })));
}

/// A cloud of its own making: greets as it should, then does `deed` to every connection.
fn impostor<D, F>(place: &Place, deed: D) -> tokio::task::JoinHandle<()>
where
    D: Fn(server::TlsStream<Box<dyn Wire>>) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let (address, acceptor) = (place.address(), TlsAcceptor::from(tls::server(&place.cloud).unwrap()));
    tokio::spawn(async move {
        let listener = Listener::bind(&address).await.unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            zmtp::handshake(&mut stream, "ROUTER", None).await.unwrap();
            zmtp::receive(&mut stream, &Limits::default()).await.unwrap();
            let model = Some(proto::Model::default());
            let hello = proto::HelloReply { protocol: PROTOCOL, build: String::new(), model };
            let reply = proto::Reply { id: 0, body: Some(reply::Body::Hello(hello)) };
            zmtp::send(&mut stream, &[reply.encode_to_vec()]).await.unwrap();
            deed(stream).await;
        }
    })
}

/// Waits until the link is up and then no more, and says why.
async fn fall(link: &Link) -> String {
    // The listener may come after the first attempt.
    let mut state = link.state();
    let fallen = state.wait_for(|s| matches!(s, State::Away { why } if !why.contains("No such file"))).await;
    let State::Away { why } = fallen.unwrap().clone() else { panic!("not away") };
    why
}

#[tokio::test]
async fn a_hostile_cloud_costs_a_connection_and_no_memory() {
    let sins: [(Vec<u8>, &str); 5] = [
        (HUGE.to_vec(), "beyond the limits"),
        ([1, 0].repeat(9), "beyond the limits"),
        (vec![4, 1, 5], "a command"),
        (vec![1, 0, 0, 0], "in parts"),
        (vec![0, 3, 0xff, 0xff, 0xff], "not a reply"),
    ];
    for (sin, reason) in sins {
        let place = Place::new();
        let cloud = impostor(&place, move |mut stream| {
            let sin = sin.clone();
            async move {
                stream.write_all(&sin).await.unwrap();
                stream.flush().await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        });
        let why = fall(&place.link()).await;
        assert!(why.contains(reason), "{why}");
        cloud.abort();
    }
}

#[tokio::test]
async fn a_cloud_that_falls_silent_or_hangs_up_is_away() {
    let mut place = Place::new();
    place.limits.heartbeat = (Duration::from_millis(20), Duration::from_millis(200));
    let silent = impostor(&place, |mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let why = fall(&place.link()).await;
    assert!(why.contains("silent"), "{why}");
    silent.abort();
    let _ = silent.await;

    place.limits = Limits::default();
    let hangs_up = impostor(&place, |mut stream| async move {
        // After the first real request.
        while let Ok(Some(parts)) = zmtp::receive(&mut stream, &Limits::default()).await {
            if proto::Request::decode(parts[0].as_slice()).unwrap().id != 0 {
                return;
            }
        }
    });
    let link = place.link();
    link.ready().await.unwrap();
    let lost = link.call(request::Body::Stats(proto::StatsRequest {})).await;
    assert_eq!(lost.unwrap_err(), LinkError::Lost);
    hangs_up.abort();
}

#[tokio::test]
async fn an_exchange_that_nobody_reads_does_not_stop_the_others() {
    let mut place = Place::new();
    place.limits.unread = 1 << 20;
    place.limits.heartbeat = (Duration::from_millis(50), Duration::from_secs(1));
    // Answers exchange 1 with 4 MiB, exchange 2 with the number of cancels seen.
    let cloud = impostor(&place, |mut stream| async move {
        while let Ok(Some(parts)) = zmtp::receive(&mut stream, &Limits::default()).await {
            let request = proto::Request::decode(parts[0].as_slice()).unwrap();
            let bodies = match request.body.unwrap() {
                request::Body::Encode(_) => {
                    let states = vec![0; 1 << 18];
                    vec![reply::Body::EncodeChunk(proto::EncodeChunk { first: 0, count: 1, states }); 16]
                }
                request::Body::Ping(_) => vec![reply::Body::Pong(proto::Pong {})],
                request::Body::Stats(_) => vec![reply::Body::Stats(proto::Stats::default())],
                _ => vec![],
            };
            for body in bodies {
                let reply = proto::Reply { id: request.id, body: Some(body) };
                zmtp::send(&mut stream, &[reply.encode_to_vec()]).await.unwrap();
            }
        }
    });
    let link = place.link();
    link.ready().await.unwrap();
    let mut unread = link.open(request::Body::Encode(proto::Encode::default())).await.unwrap();
    let stats = link.call(request::Body::Stats(proto::StatsRequest {})).await.unwrap();
    assert!(matches!(stats, reply::Body::Stats(_)));
    // What it held comes out, and then that the rest is lost.
    let mut held = 0;
    let end = loop {
        match unread.next().await {
            Ok(_) => held += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((held, end), (3, LinkError::Lost));
    cloud.abort();
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_its_credit_and_waits_alone() {
    const SIZE: usize = 64 << 10;
    const COUNT: usize = 256;
    let mut place = Place::new();
    place.limits.unsent = 1 << 20;
    let mut server = place.server().await;
    let (mut lazy, mut honest) = (place.peer(&place.device).await, place.peer(&place.device).await);
    zmtp::send(&mut lazy, &request(1, hello())).await.unwrap();
    let Some(Incoming::Request { peer, .. }) = server.recv().await else { panic!("no request") };
    let (replies, sent) = (server.replies(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&sent);
    let sender = tokio::spawn(async move {
        for first in 0.. {
            let states = vec![0; SIZE];
            let chunk = reply::Body::EncodeChunk(proto::EncodeChunk { first, count: 1, states });
            replies.send(&peer, proto::Reply { id: 1, body: Some(chunk) }).await?;
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<_, LinkError>(())
    });
    // Credit, one message in each direction of the relay, and what the kernel's two sockets hold.
    let most = (1 << 20) / SIZE + 2 + (1 << 20) / SIZE;
    for n in 0..COUNT {
        zmtp::send(&mut honest, &request(7, request::Body::Ping(proto::Ping {}))).await.unwrap();
        assert!(matches!(reply_to(&mut honest).await, reply::Body::Pong(_)));
        let reply::Body::EncodeChunk(chunk) = reply_to(&mut lazy).await else { panic!("no chunk") };
        assert_eq!(chunk.first as usize, n);
        let ahead = sent.load(Ordering::Relaxed) - n;
        assert!(ahead <= most, "{ahead} replies ahead of their reader");
    }
    // Gone while its sender waits: the sender learns it.
    drop(lazy);
    assert_eq!(sender.await.unwrap(), Err(LinkError::Lost));
}
