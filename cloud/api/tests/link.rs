//! The link over real sockets and real TLS: what works, who is refused, and what hostile peers cannot do.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use aside_cloud_api::identity::{Identity, PublicKey};
use aside_cloud_api::link::client::{Link, LinkConfig, State};
use aside_cloud_api::link::server::{Admission, Incoming, Server, ServerConfig};
use aside_cloud_api::link::{Address, Limits, LinkError};
use aside_cloud_api::proto::{self, reply, request};
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

struct Lists {
    allowed: Mutex<HashSet<PublicKey>>,
    invitations: Mutex<HashSet<Vec<u8>>>,
}

impl Admission for Lists {
    fn allowed(&self, key: &PublicKey) -> bool {
        self.allowed.lock().unwrap().contains(key)
    }

    fn enroll(&self, key: &PublicKey, secret: &[u8]) -> bool {
        let admitted = self.invitations.lock().unwrap().remove(secret);
        if admitted {
            self.allowed.lock().unwrap().insert(*key);
        }
        admitted
    }
}

struct Place {
    dir: tempfile::TempDir,
    server: Identity,
    client: Identity,
    lists: Arc<Lists>,
}

impl Place {
    fn new() -> Self {
        let client = Identity::generate().unwrap();
        let lists = Lists {
            allowed: Mutex::new(HashSet::from([client.public()])),
            invitations: Mutex::new(HashSet::from([b"invitation".to_vec()])),
        };
        Self {
            dir: tempfile::tempdir().unwrap(),
            server: Identity::generate().unwrap(),
            client,
            lists: Arc::new(lists),
        }
    }

    fn unix(&self) -> Address {
        Address::Unix(self.dir.path().join("cloud.sock"))
    }

    async fn bind(&self, address: Address) -> Server {
        let config = ServerConfig {
            address,
            identity: self.server.clone(),
            admission: self.lists.clone(),
            limits: Limits::default(),
            private_dir: self.dir.path().join("s"),
        };
        Server::bind(config).await.unwrap()
    }

    fn config(&self, address: &Address) -> LinkConfig {
        LinkConfig {
            address: address.clone(),
            server_key: self.server.public(),
            identity: self.client.clone(),
            secret: None,
            private_dir: self.dir.path().join("c"),
            limits: Limits::default(),
            build: "test".into(),
        }
    }
}

/// A service that answers: Hello, Ping; an Encode of n tokens with n chunks; Generate with an open position whose
/// choice it repeats; FetchKit with `offset` bytes.
fn service(mut server: Server) -> JoinHandle<()> {
    tokio::spawn(async move {
        let replies = server.replies();
        while let Some(incoming) = server.recv().await {
            let Incoming::Request { peer, request } = incoming else { continue };
            let (id, replies) = (request.id, replies.clone());
            let answers = match request.body.unwrap() {
                request::Body::Hello(_) => vec![reply::Body::Hello(proto::HelloReply {
                    protocol: aside_cloud_api::PROTOCOL,
                    build: String::new(),
                    model: Some(proto::Model { name: "test".into(), ..Default::default() }),
                })],
                request::Body::Ping(_) => vec![reply::Body::Pong(proto::Pong {})],
                request::Body::Generate(_) => {
                    vec![reply::Body::OpenPosition(proto::OpenPosition {
                        index: 3,
                        choice: 9,
                        ..Default::default()
                    })]
                }
                request::Body::Choose(choose) => vec![
                    reply::Body::Token(proto::Token {
                        index: choose.index,
                        id: choose.id,
                        ..Default::default()
                    }),
                    reply::Body::Done(proto::Done::default()),
                ],
                request::Body::Encode(encode) => (0..encode.tokens.len())
                    .map(|n| {
                        let states = vec![7; encode.from as usize];
                        reply::Body::EncodeChunk(proto::EncodeChunk { first: n as u32, count: 1, states })
                    })
                    .chain([reply::Body::EncodeDone(proto::EncodeDone::default())])
                    .collect(),
                request::Body::FetchKit(fetch) => {
                    let data = vec![5; fetch.offset as usize];
                    vec![reply::Body::KitChunk(proto::KitChunk { offset: 0, total: fetch.offset, data })]
                }
                request::Body::Stats(_) => {
                    vec![reply::Body::Fault(proto::Fault {
                        code: "busy".into(),
                        message: peer.client().into(),
                    })]
                }
                _ => vec![],
            };
            tokio::spawn(async move {
                for body in answers {
                    if replies.send(&peer, proto::Reply { id, body: Some(body) }).await.is_err() {
                        return;
                    }
                }
            });
        }
    })
}

async fn until(link: &Link, wanted: impl FnMut(&State) -> bool) -> State {
    link.state().wait_for(wanted).await.unwrap().clone()
}

#[tokio::test]
async fn calls_streams_and_choices_over_tcp_and_unix() {
    let place = Place::new();
    for wanted in [Address::Tcp("127.0.0.1".into(), 0), place.unix()] {
        let server = place.bind(wanted).await;
        let address = server.address().clone();
        let service = service(server);
        let link = Link::start(place.config(&address));
        assert_eq!(link.ready().await.unwrap().name, "test");
        let mut exchange = link.open(request::Body::Generate(proto::Generate::default())).await.unwrap();
        let reply::Body::OpenPosition(open) = exchange.next().await.unwrap() else {
            panic!("no open position")
        };
        exchange.send(request::Body::Choose(proto::Choose { index: open.index, id: open.choice })).unwrap();
        let reply::Body::Token(token) = exchange.next().await.unwrap() else { panic!("no token") };
        assert_eq!((token.index, token.id), (3, 9));
        assert!(matches!(exchange.next().await.unwrap(), reply::Body::Done(_)));
        assert!(exchange.bytes_up() > 0 && exchange.bytes_down() > 0);
        let fault = link.call(request::Body::Stats(proto::StatsRequest {})).await.unwrap_err();
        let client = format!("k{}", place.client.public().hash_hex());
        assert_eq!(fault, LinkError::Fault { code: "busy".into(), message: client });
        link.close().await;
        service.abort();
        let _ = service.await;
    }
}

#[tokio::test]
async fn large_messages_and_a_slow_reader_lose_nothing() {
    let place = Place::new();
    let server = place.bind(place.unix()).await;
    let service = service(server);
    let link = Link::start(place.config(&place.unix()));
    link.ready().await.unwrap();
    let size = (4 << 20) - 64;
    let fetch = proto::FetchKit { sha256: String::new(), offset: size };
    let reply::Body::KitChunk(chunk) = link.call(request::Body::FetchKit(fetch)).await.unwrap() else {
        panic!()
    };
    assert_eq!(chunk.data.len() as u64, size);
    // 40 MiB, more than the credit of 16 MiB: the rest waits until the reader comes.
    let encode = proto::Encode { tokens: vec![0; 40], from: 1 << 20 };
    let mut slow = link.open(request::Body::Encode(encode)).await.unwrap();
    let fetch = proto::FetchKit { sha256: String::new(), offset: 10 };
    link.call(request::Body::FetchKit(fetch)).await.unwrap();
    for n in 0..40 {
        let reply::Body::EncodeChunk(chunk) = slow.next().await.unwrap() else { panic!() };
        assert_eq!((chunk.first, chunk.states.len()), (n, 1 << 20));
    }
    assert!(matches!(slow.next().await.unwrap(), reply::Body::EncodeDone(_)));
    assert!(link.traffic().down > 40 << 20);
    service.abort();
}

#[tokio::test]
async fn another_server_key_is_refused() {
    let place = Place::new();
    let service = service(place.bind(place.unix()).await);
    let mut config = place.config(&place.unix());
    config.server_key = Identity::generate().unwrap().public();
    let link = Link::start(config);
    let refused = link.ready().await.unwrap_err();
    assert!(
        matches!(&refused, LinkError::Refused(_)) && refused.to_string().contains("aside connect"),
        "{refused}"
    );
    service.abort();
}

#[tokio::test]
async fn an_unknown_client_needs_an_invitation_that_works_once() {
    let place = Place::new();
    let service = service(place.bind(place.unix()).await);
    let start = |identity: &Identity, secret: Option<&[u8]>| {
        let mut config = place.config(&place.unix());
        config.identity = identity.clone();
        config.secret = secret.map(<[u8]>::to_vec);
        Link::start(config)
    };
    let (first, second) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    assert!(matches!(start(&first, None).ready().await, Err(LinkError::Refused(_))));
    assert!(matches!(start(&first, Some(b"guess")).ready().await, Err(LinkError::Refused(_))));
    start(&first, Some(b"invitation")).ready().await.unwrap();
    assert!(matches!(start(&second, Some(b"invitation")).ready().await, Err(LinkError::Refused(_))));
    start(&first, None).ready().await.unwrap();
    start(&first, Some(b"used up, but the key is known")).ready().await.unwrap();
    service.abort();
}

#[tokio::test]
async fn a_lost_connection_ends_exchanges_and_comes_back() {
    let place = Place::new();
    let first = service(place.bind(place.unix()).await);
    let link = Link::start(place.config(&place.unix()));
    link.ready().await.unwrap();
    let mut exchange = link.open(request::Body::Generate(proto::Generate::default())).await.unwrap();
    exchange.next().await.unwrap();
    first.abort();
    let _ = first.await;
    assert_eq!(exchange.next().await.unwrap_err(), LinkError::Lost);
    until(&link, |s| matches!(s, State::Away { .. })).await;
    assert!(matches!(link.call(request::Body::Ping(proto::Ping {})).await, Err(LinkError::Away(_))));
    let second = service(place.bind(place.unix()).await);
    until(&link, |s| matches!(s, State::Up { .. })).await;
    let fetch = proto::FetchKit { sha256: String::new(), offset: 10 };
    link.call(request::Body::FetchKit(fetch)).await.unwrap();
    second.abort();
}

#[tokio::test]
async fn bytes_that_are_no_tls_change_nothing() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let place = Place::new();
    let server = place.bind(Address::Tcp("127.0.0.1".into(), 0)).await;
    let address = server.address().clone();
    let Address::Tcp(host, port) = &address else { panic!() };
    let service = service(server);
    let mut plain = tokio::net::TcpStream::connect((host.as_str(), *port)).await.unwrap();
    // A bare ZMTP greeting with a frame of 2^36 bytes behind it.
    let mut bytes = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0];
    bytes.extend_from_slice(&[0; 52]);
    bytes.extend_from_slice(&[2, 0, 0, 0, 0x10, 0, 0, 0, 0]);
    plain.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    // The server ends it, with an alert at most.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(answer.len() < 64);
    Link::start(place.config(&address)).ready().await.unwrap();
    service.abort();
}

#[tokio::test]
async fn the_sockets_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let server = place.bind(place.unix()).await;
    assert_eq!(mode(&place.dir.path().join("cloud.sock")), 0o600);
    assert_eq!(mode(&place.dir.path().join("s")), 0o700);
    let busy = ServerConfig {
        address: place.unix(),
        identity: place.server.clone(),
        admission: place.lists.clone(),
        limits: Limits::default(),
        private_dir: place.dir.path().join("s2"),
    };
    assert!(Server::bind(busy).await.is_err(), "a socket that answers is not taken over");
    server.shutdown().await;
    place.bind(place.unix()).await.shutdown().await;
}
