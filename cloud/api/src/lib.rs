//! What daemon and cloud say to each other: messages, the tap codec, the sampling noise both ends share, and the
//! secured ZeroMQ link. No model code.

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

pub use aside_codec as codec;

pub mod fault;
pub mod identity;
pub mod link;
pub mod sampling;
pub mod uri;

/// The messages of `proto/cloud.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/aside.cloud.v1.rs"));
}

/// Version of the protocol; both ends must agree.
pub const PROTOCOL: u32 = 1;
