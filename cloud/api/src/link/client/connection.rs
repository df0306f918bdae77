//! One connection: an inner DEALER, the relay in mirror image, TLS, and the first words (Enroll, Hello).

use super::super::address::{bind_unix, dial};
use super::super::pump::relay;
use super::super::zmtp::handshake;
use super::super::{LinkError, tls};
use super::LinkConfig;
use crate::proto::{self, reply, request};
use crate::{PROTOCOL, fault};
use prost::Message;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use zeromq::{DealerRecvHalf, DealerSendHalf, DealerSocket, Socket, SocketRecv, SocketSend};

/// An open connection that said Hello.
pub(super) struct Connection {
    pub(super) out: DealerSendHalf,
    pub(super) incoming: DealerRecvHalf,
    pub(super) relay: JoinHandle<()>,
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

    let inner = inner_path(&config.private_dir)?;
    let listener = bind_unix(&inner).await?;
    let mut dealer = DealerSocket::new();
    let endpoint = format!("ipc://{}", inner.display());
    let near = async {
        let (mut near, _) = listener.accept().await?;
        handshake(&mut near, "ROUTER", None).await?;
        Ok::<_, LinkError>(near)
    };
    let (near, connected) = tokio::join!(near, dealer.connect(&endpoint));
    let _ = std::fs::remove_file(&inner);
    connected.map_err(|e| LinkError::Io(format!("the inner socket: {e}")))?;
    let near = near?;
    let limits = config.limits;
    let relay = tokio::spawn(async move {
        if let Err(error) = relay(far, near, &limits, |_| ()).await {
            tracing::debug!(%error, "the relay to the cloud ended");
        }
    });
    let (out, incoming) = dealer.split();
    let model = proto::Model::default();
    let mut connection = Connection { out, incoming, relay, model, rtt: Duration::ZERO };
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
            reply::Body::Hello(_) => Err(LinkError::Refused("it speaks another version of the protocol".into())),
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
        self.out.send(request.encode_to_vec().into()).await.map_err(|_| LinkError::Lost)
    }

    /// The next reply and its size.
    pub(super) async fn receive(&mut self) -> Result<(proto::Reply, u64), LinkError> {
        let message = self.incoming.recv().await.map_err(|_| LinkError::Lost)?;
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
        Some(rustls::Error::InvalidCertificate(_)) => LinkError::Refused("its key is not the one that was pinned".into()),
        _ => LinkError::Away(error.to_string()),
    }
}

fn broken(error: LinkError) -> LinkError {
    match error {
        LinkError::Io(why) => LinkError::Away(why),
        other => other,
    }
}

fn inner_path(folder: &Path) -> Result<std::path::PathBuf, LinkError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    Ok(folder.join(format!("d{}-{}", std::process::id(), super::super::unique())))
}
