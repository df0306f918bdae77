//! The daemon: chat turns, vault, lessons, learning, statistics, and the link to the cloud. No drawing.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice, reason = "tests"))]

pub mod keys;
pub mod vault;
