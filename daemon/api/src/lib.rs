//! What front ends and daemon say to each other: gRPC over a private Unix socket. No logic.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        reason = "tests"
    )
)]

pub mod client;
pub mod fault;

/// The messages and the service of `proto/daemon.proto`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod proto {
    tonic::include_proto!("aside.daemon.v1");
}

/// Version of the protocol; both ends must agree.
pub const PROTOCOL: u32 = 1;

/// Largest message in bytes, both ways: a file to learn travels in one. Servers must set it too.
pub const MAX_MESSAGE: usize = 256 << 20;
