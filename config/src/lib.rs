//! Settings of Aside: schema, layered loading, and the folders it uses.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice, reason = "tests"))]
