//! What an end of the link puts up with.

use std::time::Duration;

/// Limits of one end. The defaults are those of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections that have not shown a key yet.
    pub unauthenticated: usize,
    /// From accepting to a finished handshake.
    pub handshake: Duration,
    /// Handshakes a second and source address.
    pub handshakes_per_second: u32,
    /// Bytes of one message, all parts.
    pub message: usize,
    /// Parts of one message.
    pub parts: usize,
    /// Bytes on their way to one peer.
    pub unsent: usize,
    /// For the one request of an unknown key: its size and its time.
    pub enroll: (usize, Duration),
    /// Silence after which a ping is sent, and after which the connection is given up.
    pub heartbeat: (Duration, Duration),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unauthenticated: 256,
            handshake: Duration::from_secs(10),
            handshakes_per_second: 20,
            message: 4 << 20,
            parts: 8,
            unsent: 16 << 20,
            enroll: (256, Duration::from_secs(5)),
            heartbeat: (Duration::from_secs(2), Duration::from_secs(15)),
        }
    }
}
