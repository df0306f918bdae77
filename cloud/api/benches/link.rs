//! Round trips over the link (TLS, both relays, both ZeroMQ sockets, protobuf) against a bare ZeroMQ DEALER and ROUTER
//! on a Unix socket, as a ratio: `cargo bench -p aside-cloud-api --bench link`. The reply is an open position.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures and has nobody to tell errors"
)]

use aside_cloud_api::identity::{Identity, PublicKey};
use aside_cloud_api::link::client::{Link, LinkConfig};
use aside_cloud_api::link::server::{Admission, Incoming, Server, ServerConfig};
use aside_cloud_api::link::{Address, Limits};
use aside_cloud_api::proto::{self, reply, request};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeromq::{DealerSocket, RouterSocket, Socket, SocketRecv, SocketSend, ZmqMessage};

const ROUNDS: usize = 4000;
const WARM_UP: usize = 500;
/// Bytes of a state: the bundled backbone's, and one of a large one.
const STATES: [usize; 2] = [1872, 30_000];

struct Everybody;

impl Admission for Everybody {
    fn allowed(&self, _: &PublicKey) -> bool {
        true
    }

    fn enroll(&self, _: &PublicKey, _: &[u8]) -> bool {
        false
    }
}

#[tokio::main]
async fn main() {
    for bytes in STATES {
        let dir = tempfile::tempdir().unwrap();
        let bare = bare(dir.path(), bytes).await;
        let unix = linked(dir.path(), Address::Unix(dir.path().join("cloud")), bytes).await;
        let tcp = linked(dir.path(), Address::Tcp("127.0.0.1".into(), 0), bytes).await;
        println!("state of {bytes} bytes, median of {ROUNDS} round trips");
        println!("  bare ZeroMQ, Unix socket  {:>7.1} us", micros(bare));
        for (name, time) in [("link, Unix socket", unix), ("link, TCP on loopback", tcp)] {
            println!("  {name:<24}  {:>7.1} us  {:.1} times bare", micros(time), micros(time) / micros(bare));
        }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap()
}

async fn bare(folder: &Path, bytes: usize) -> Duration {
    let endpoint = format!("ipc://{}", folder.join("bare").display());
    let mut router = RouterSocket::new();
    router.bind(&endpoint).await.unwrap();
    let echo = tokio::spawn(async move {
        while let Ok(message) = router.recv().await {
            let route = message.get(0).unwrap().clone();
            let reply = ZmqMessage::try_from(vec![route, vec![7; bytes].into()]).unwrap();
            router.send(reply).await.unwrap();
        }
    });
    let mut dealer = DealerSocket::new();
    dealer.connect(&endpoint).await.unwrap();
    let mut times = Vec::new();
    for round in 0..WARM_UP + ROUNDS {
        let start = Instant::now();
        dealer.send(vec![1; 8].into()).await.unwrap();
        dealer.recv().await.unwrap();
        if round >= WARM_UP {
            times.push(start.elapsed());
        }
    }
    echo.abort();
    median(times)
}

async fn linked(folder: &Path, address: Address, bytes: usize) -> Duration {
    let (identity, device) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let server_key = identity.public();
    let limits = Limits::default();
    let config = ServerConfig {
        address,
        identity,
        admission: Arc::new(Everybody),
        limits,
        private_dir: folder.join("s"),
    };
    let mut server = Server::bind(config).await.unwrap();
    let address = server.address().clone();
    let service = tokio::spawn(async move {
        let replies = server.replies();
        while let Some(incoming) = server.recv().await {
            let Incoming::Request { peer, request } = incoming else { continue };
            let body = match request.body {
                Some(request::Body::Hello(_)) => reply::Body::Hello(proto::HelloReply {
                    protocol: aside_cloud_api::PROTOCOL,
                    build: String::new(),
                    model: Some(proto::Model::default()),
                }),
                Some(request::Body::Choose(choose)) => reply::Body::OpenPosition(proto::OpenPosition {
                    index: choose.index,
                    state: vec![7; bytes],
                    ..Default::default()
                }),
                _ => continue,
            };
            replies.send(&peer, proto::Reply { id: request.id, body: Some(body) }).await.unwrap();
        }
    });
    let private_dir = folder.join("c");
    let build = "bench".to_owned();
    let link = Link::start(LinkConfig {
        address,
        server_key,
        identity: device,
        secret: None,
        private_dir,
        limits,
        build,
    });
    link.ready().await.unwrap();
    let choose = |index| request::Body::Choose(proto::Choose { index, id: 1 });
    let mut exchange = link.open(choose(0)).await.unwrap();
    exchange.next().await.unwrap();
    let mut times = Vec::new();
    for round in 0..WARM_UP + ROUNDS {
        let start = Instant::now();
        exchange.send(choose(round as u32)).unwrap();
        exchange.next().await.unwrap();
        if round >= WARM_UP {
            times.push(start.elapsed());
        }
    }
    drop(exchange);
    link.close().await;
    service.abort();
    let _ = service.await;
    median(times)
}
