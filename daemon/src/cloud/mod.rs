//! The cloud as the daemon sees it: where it is, the local one as a supervised child, the link, and its sessions.

mod connect;
mod connection;
mod faults;
mod held;
mod local;
mod place;
mod sessions;

pub use connect::connect;
pub use connection::{Cloud, CloudConfig, Connected, View};
pub use faults::{fetch_fault, link_fault};
pub use held::{Held, random};
pub(crate) use place::META as PLACE;
pub use place::Place;
pub use sessions::{Key, Lease, Sessions};
