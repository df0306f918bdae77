//! Codes of `proto::Fault`: why the cloud ended an exchange. Stable words, matched by the daemon.

/// The client's key is not on the allow-list, or its invitation is unknown, used or expired.
pub const UNAUTHORISED: &str = "unauthorised";
/// A limit is reached; the same request may succeed later.
pub const BUSY: &str = "busy";
/// The request breaks the protocol's rules; sending it again cannot help.
pub const BAD_REQUEST: &str = "bad-request";
/// The session is unknown or has been dropped; open it again.
pub const NO_SESSION: &str = "no-session";
/// The tokens do not fit the backbone's context.
pub const CONTEXT_FULL: &str = "context-full";
/// No model kit of that address is served here.
pub const UNKNOWN_KIT: &str = "unknown-kit";
/// The ends speak different protocol versions.
pub const PROTOCOL: &str = "protocol";
/// The engine failed; the cloud's log has the cause.
pub const INTERNAL: &str = "internal";
