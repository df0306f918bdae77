//! One connection: an inner DEALER, the relay in mirror image, TLS, and the first words (Enroll, Hello).

use super::super::address::{bind_unix, dial};
use super::super::inner::Inner;
use super::super::pump::relay;
use super::super::zmtp::handshake;
use super::super::{LinkError, tls};
use super::LinkConfig;
use crate::proto::{self, reply, request};
use crate::{PROTOCOL, fault};
use prost::Message;
use std::io;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use zeromq::{DealerRecvHalf, DealerSendHalf, DealerSocket, Socket, SocketRecv, SocketSend};

/// Between the end of the relay and that of the connection: what it relayed last is read first.
const DRAIN: Duration = Duration::from_millis(50);

/// An open connection that said Hello.
pub(super) struct Connection {
    pub(super) out: DealerSendHalf,
    pub(super) incoming: DealerRecvHalf,
    relay: JoinHandle<LinkError>,
    /// Why the relay ended.
    ended: Option<LinkError>,
    pub(super) model: proto::Model,
    pub(super) rtt: Duration,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

/// Connects, enrols where a secret is given, and says Hello.
pub(super) async fn connect(config: &LinkConfig, secret: Option<&[u8]>) -> Result<Connection, LinkError> {
    let away = |_| LinkError::Away("it does not answer in time".into());
    timeout(config.limits.handshake, open(config, secret)).await.map_err(away)?
}

async fn open(config: &LinkConfig, secret: Option<&[u8]>) -> Result<Connection, LinkError> {
    let far = dial(&config.address).await.map_err(|e| LinkError::Away(e.to_string()))?;
    let tls = TlsConnector::from(tls::client(&config.identity, config.server_key)?);
    let mut far = tls.connect(tls::name(), far).await.map_err(refused)?;
    handshake(&mut far, "DEALER", None).await.map_err(broken)?;

    let inner = Inner::new(&config.private_dir, 'd')?;
    let listener = bind_unix(inner.path()).await?;
    let mut dealer = DealerSocket::new();
    let near = async {
        let (mut near, _) = listener.accept().await?;
        handshake(&mut near, "ROUTER", None).await?;
        Ok::<_, LinkError>(near)
    };
    let endpoint = inner.endpoint();
    let connected = async {
        dealer.connect(&endpoint).await.map_err(|e| LinkError::Io(format!("the inner socket: {e}")))
    };
    let (near, ()) = tokio::try_join!(near, connected)?;
    drop(inner);
    let limits = config.limits;
    let relay = tokio::spawn(async move {
        match relay(far, near, &limits, limits.heartbeat.1, |_| ()).await {
            Ok(()) => LinkError::Lost,
            Err(error) => broken(error),
        }
    });
    let (out, incoming) = dealer.split();
    let model = proto::Model::default();
    let mut connection = Connection { out, incoming, relay, ended: None, model, rtt: Duration::ZERO };
    connection.greet(config, secret).await?;
    Ok(connection)
}

impl Connection {
    async fn greet(&mut self, config: &LinkConfig, secret: Option<&[u8]>) -> Result<(), LinkError> {
        if let Some(secret) = secret {
            let enroll = proto::Enroll { secret: secret.to_vec() };
            match self.first(request::Body::Enroll(enroll)).await? {
                reply::Body::Enrolled(_) => {}
                other => return Err(unexpected(other)),
            }
        }
        let start = Instant::now();
        let hello = proto::Hello { protocol: PROTOCOL, build: config.build.clone() };
        match self.first(request::Body::Hello(hello)).await? {
            reply::Body::Hello(proto::HelloReply { protocol: PROTOCOL, model: Some(model), .. }) => {
                self.model = model;
                self.rtt = start.elapsed();
                Ok(())
            }
            reply::Body::Hello(_) => {
                Err(LinkError::Refused("it speaks another version of the protocol".into()))
            }
            other => Err(unexpected(other)),
        }
    }

    /// A request before the driver runs, under id 0.
    async fn first(&mut self, body: request::Body) -> Result<reply::Body, LinkError> {
        self.send(&proto::Request { id: 0, body: Some(body) }).await?;
        let (reply, _) = self.receive().await?;
        reply.body.ok_or(LinkError::Protocol("an empty reply"))
    }

    pub(super) async fn send(&mut self, request: &proto::Request) -> Result<(), LinkError> {
        match self.out.send(request.encode_to_vec().into()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.why().await),
        }
    }

    /// Why the sockets behind the relay fail: what the relay ended with, which may come a moment later.
    async fn why(&mut self) -> LinkError {
        if self.ended.is_none() {
            let ended = timeout(DRAIN, &mut self.relay).await;
            self.ended = Some(ended.ok().and_then(Result::ok).unwrap_or(LinkError::Lost));
        }
        self.ended.clone().unwrap_or(LinkError::Lost)
    }

    /// The next reply and its size. The DEALER alone would wait for ever behind a connection that ended.
    pub(super) async fn receive(&mut self) -> Result<(proto::Reply, u64), LinkError> {
        let received = loop {
            if let Some(why) = &self.ended {
                break timeout(DRAIN, self.incoming.recv()).await.map_err(|_| why.clone())?;
            }
            tokio::select! {
                received = self.incoming.recv() => break received,
                why = &mut self.relay => self.ended = Some(why.unwrap_or(LinkError::Lost)),
            }
        };
        let Ok(message) = received else { return Err(self.why().await) };
        let (Some(body), None) = (message.get(0), message.get(1)) else {
            return Err(LinkError::Protocol("a reply in parts"));
        };
        let reply = proto::Reply::decode(body.clone()).map_err(|_| LinkError::Protocol("not a reply"))?;
        Ok((reply, body.len() as u64))
    }
}

fn unexpected(body: reply::Body) -> LinkError {
    match body {
        reply::Body::Fault(f) if f.code == fault::UNAUTHORISED || f.code == fault::PROTOCOL => {
            LinkError::Refused(f.message)
        }
        reply::Body::Fault(f) => LinkError::Fault { code: f.code, message: f.message },
        _ => LinkError::Protocol("an unexpected first reply"),
    }
}

/// A failed TLS handshake: a key that is not the pinned one is a refusal, everything else is absence.
fn refused(error: io::Error) -> LinkError {
    let cause = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => {
            LinkError::Refused("its key is not the one that was pinned".into())
        }
        Some(rustls::Error::PeerIncompatible(_)) => {
            LinkError::Refused("something else than a cloud answers there".into())
        }
        _ => LinkError::Away(error.to_string()),
    }
}

fn broken(error: LinkError) -> LinkError {
    match error {
        LinkError::Io(why) => LinkError::Away(why),
        other => other,
    }
}
