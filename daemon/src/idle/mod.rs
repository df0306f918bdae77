//! Whether the machine is idle enough to learn: readings of the system, and a policy over them.

mod logind;
mod policy;
mod sources;

pub use logind::Logind;
pub use policy::{Limits, Policy, Power, Reason, Snapshot, Verdict};
pub use sources::{Readings, read};
