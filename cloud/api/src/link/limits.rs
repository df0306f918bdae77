//! What an end of the link puts up with.

use std::time::Duration;

/// What a message takes beside its bytes. Keeps the count of unsent messages below zeromq's queue of 100,000.
const MESSAGE_BYTES: usize = 256;

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
    /// Bytes of replies that one exchange holds for its reader; beyond that the whole link waits for it.
    pub unread: usize,
    /// For the one request of an unknown key: its size and its time.
    pub enroll: (usize, Duration),
    /// Time between pings, and the silence after which a client gives the connection up; a server waits twice as long.
    pub heartbeat: (Duration, Duration),
}

impl Limits {
    /// What a message of `bytes` costs of a credit of `all` bytes: an empty one costs memory too.
    pub(super) fn cost(bytes: usize, all: usize) -> u32 {
        u32::try_from(bytes.saturating_add(MESSAGE_BYTES).min(all)).unwrap_or(u32::MAX)
    }
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
            unread: 64 << 20,
            enroll: (256, Duration::from_secs(5)),
            heartbeat: (Duration::from_secs(2), Duration::from_secs(15)),
        }
    }
}
