//! The method: side network, gate, fusion, objective, optimiser and calibration.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice, reason = "tests"))]
