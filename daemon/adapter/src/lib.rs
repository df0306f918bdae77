//! The method: side network, gate, fusion, objective, optimiser and calibration. Pure: tensors, numbers and a seed go
//! in, tensors and numbers come out. No files, clocks, network or async; the same job gives the same candidate.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests"
    )
)]

mod adapter;
mod bytes;
mod error;
mod evaluate;
mod file;
mod gate;
mod head;
mod job;
mod loss;
mod memory;
mod optimiser;
mod promotion;
mod rng;
mod side;
mod simd;
mod starter;
mod training;
mod variant;

pub use adapter::Adapter;
pub use error::{AdapterError, Result};
pub use evaluate::{Evaluation, evaluate, gate_scores};
pub use gate::Gate;
pub use head::Head;
pub use job::{Job, Objective, Part, Settings, Turn};
pub use memory::{Mixed, WIDEST as WIDEST_KEY};
pub use promotion::{Bar, Comparison, ENOUGH_TURNS, Pair, Verdict, compare, decide, pairs};
pub use side::Shape;
pub use starter::{Generic, Starter};
pub use training::{Candidate, People, Progress, Tell, Training};
pub use variant::Variant;

/// Price of one transmission in nats (method, section 8).
pub const LAMBDA: f64 = 0.05;
