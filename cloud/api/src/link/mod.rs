//! The link: ZeroMQ inside TLS 1.3 with pinned raw public keys. ZeroMQ sockets (ROUTER, DEALER) live behind a relay on
//! private Unix sockets; the relay ends the ZMTP handshake on both of its sides, so that nothing reaches a socket
//! before it is authenticated and measured against [`Limits`].

mod address;
mod backoff;
pub mod client;
mod error;
#[cfg(test)]
mod hostile;
mod inner;
mod limits;
mod pump;
pub mod server;
mod tls;
mod watched;
mod zmtp;

pub use address::Address;
pub use error::LinkError;
pub use limits::Limits;

/// A number that no other call in this process gets; names of sockets, seeds of jitter.
fn unique() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let started = std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.subsec_nanos());
    (u64::from(started) << 20) | (NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) & 0xf_ffff)
}
