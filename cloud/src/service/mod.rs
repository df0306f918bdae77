//! The cloud as a process: who may come in, sessions, the scheduler around one engine, and the listening end.

mod admission;
mod engine_thread;
mod gate;
mod generation;
mod orders;
mod private_file;
mod requests;
mod serve;
mod session;
mod step;
mod work;

pub use admission::invite;
pub use serve::{ModelSource, ServeConfig, ServiceError, serve};
