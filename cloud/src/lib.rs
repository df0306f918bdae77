//! The cloud: backbone engines, sessions, batching, gate evaluation, and the bundled backbone. Nothing personal but a
//! session's gate.

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

pub mod engine;
pub mod service;
