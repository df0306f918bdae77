//! The link: ZeroMQ inside TLS 1.3 with pinned raw public keys. ZeroMQ sockets (ROUTER, DEALER) live behind a relay on
//! private Unix sockets; the relay ends the ZMTP handshake on both of its sides, so that nothing reaches a socket
//! before it is authenticated and measured against [`Limits`].

mod address;
mod backoff;
pub mod client;
mod error;
mod limits;
mod pump;
pub mod server;
mod tls;
mod zmtp;

pub use address::Address;
pub use error::LinkError;
pub use limits::Limits;
