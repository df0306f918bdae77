//! Settings of Aside: schema, layered loading, and the folders it uses.
//!
//! It holds no secrets, and reads no file but its own configuration.

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

mod load;
mod paths;
mod private_dir;
mod settings;

pub use load::{FLAGS, LoadError, Overrides};
pub use paths::{Paths, PathsError, systemd_folder};
pub use private_dir::{PrivateDirError, make_private_dir};
pub use settings::{
    Chat, Cloud, DEFAULT_TEXT, GatePlace, Learning, Privacy, Screen, Settings, Theme, VARIANTS,
};
