//! From an accepted stream to a relayed client: TLS, ZMTP, admission, then the pump.

use super::super::address::{Listener, Wire};
use super::super::inner::Inner;
use super::super::pump::relay;
use super::super::zmtp::handshake;
use super::super::{Limits, LinkError};
use super::admit::admit;
use super::throttle::Throttle;
use super::{Admission, Incoming, Peer, Replies};
use crate::identity::PublicKey;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// What all connections share.
pub(super) struct Shared {
    pub(super) admission: Arc<dyn Admission>,
    pub(super) limits: Limits,
    pub(super) inner: Inner,
    pub(super) replies: Replies,
    pub(super) queue: mpsc::Sender<Incoming>,
    pub(super) tls: TlsAcceptor,
}

/// Accepts until it is aborted; its connections end with it.
pub(super) async fn accept(listener: Listener, shared: Arc<Shared>) {
    let waiting = Arc::new(Semaphore::new(shared.limits.unauthenticated));
    let (started, number) = (Instant::now(), AtomicU64::new(0));
    let mut throttle = Throttle::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, source)) = accepted else {
            // Out of files, most likely: wait for some to close.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        if !throttle.admits(source, started.elapsed().as_secs(), shared.limits.handshakes_per_second) {
            continue;
        }
        let Ok(permit) = Arc::clone(&waiting).try_acquire_owned() else { continue };
        let number = number.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            if let Err(error) = serve(stream, number, permit, &shared).await {
                tracing::debug!(connection = number, %error, "a connection ended");
            }
        });
    }
}

async fn serve(
    stream: Box<dyn Wire>,
    number: u64,
    permit: OwnedSemaphorePermit,
    shared: &Shared,
) -> Result<(), LinkError> {
    let limits = &shared.limits;
    let greeting = async {
        let mut stream = shared.tls.accept(stream).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let key = certificates.and_then(<[_]>::first).and_then(|c| PublicKey::from_spki(c));
        let key = key.ok_or(LinkError::Protocol("no client key"))?;
        handshake(&mut stream, "ROUTER", None).await?;
        Ok::<_, LinkError>((stream, key))
    };
    let (mut stream, key) = timeout(limits.handshake, greeting).await.map_err(|_| LinkError::Lost)??;
    if !shared.admission.allowed(&key) {
        admit(&mut stream, &key, shared.admission.as_ref(), limits).await?;
    }
    drop(permit);
    let peer = Peer::new(&key, number);
    let mut inner = UnixStream::connect(shared.inner.path()).await?;
    handshake(&mut inner, "DEALER", Some(peer.route())).await?;
    let (credit, dropped) = shared.replies.add(&peer);
    tracing::info!(peer = ?peer, "a client is connected");
    let returned = |bytes| credit.add_permits(Limits::cost(bytes, limits.unsent) as usize);
    let ended = tokio::select! {
        ended = relay(stream, inner, limits, limits.heartbeat.1 * 2, returned) => ended,
        () = dropped.notified() => Ok(()),
    };
    shared.replies.remove(&peer);
    let _ = shared.queue.send(Incoming::Gone { peer: peer.clone() }).await;
    tracing::info!(peer = ?peer, "a client is gone");
    ended
}
