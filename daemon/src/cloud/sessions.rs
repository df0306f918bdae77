//! Sessions kept open in the cloud, so that the next question of a conversation finds its cache warm.

use std::sync::{Mutex, PoisonError};

use crate::turn::Mode;

/// Sessions kept; the cloud admits eight a client.
const KEPT: usize = 5;

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Row of the conversation; a private one has a random negative number.
    pub conversation: i64,
    /// Adapter version.
    pub version: u64,
    /// How positions are decided.
    pub mode: Mode,
    /// Bits of the gate's threshold, where the cloud has it.
    pub threshold: u32,
}

/// A session in the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    key: Key,
    session: u64,
    busy: bool,
}

/// The sessions of one link, least recently used first.
#[derive(Debug, Default)]
pub struct Sessions {
    entries: Mutex<Vec<Entry>>,
}

/// A session to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its number.
    pub session: u64,
    /// The cloud does not have it yet.
    pub new: bool,
    /// Sessions to close first.
    pub evicted: Vec<u64>,
}

impl Sessions {
    fn with<T>(&self, f: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
        f(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The session of `key`, or a new one numbered `fresh`; busy until [`Sessions::release`].
    pub fn lease(&self, key: Key, fresh: u64) -> Lease {
        self.with(|entries| {
            let known = entries.iter().position(|entry| entry.key == key && !entry.busy);
            if let Some(known) = known {
                let mut entry = entries.remove(known);
                entry.busy = true;
                entries.push(entry);
                return Lease { session: entry.session, new: false, evicted: Vec::new() };
            }
            let mut evicted = Vec::new();
            while entries.len() >= KEPT {
                let Some(idle) = entries.iter().position(|entry| !entry.busy) else { break };
                evicted.push(entries.remove(idle).session);
            }
            entries.push(Entry { key, session: fresh, busy: true });
            Lease { session: fresh, new: true, evicted }
        })
    }

    /// The answer that used it is over.
    pub fn release(&self, session: u64) {
        self.with(|entries| {
            entries.iter_mut().filter(|entry| entry.session == session).for_each(|entry| entry.busy = false);
        });
    }

    /// Takes the sessions of `key` out of the book, to close them.
    pub fn take(&self, key: Key) -> Vec<u64> {
        self.with(|entries| {
            let (taken, kept) = entries.iter().partition::<Vec<Entry>, _>(|entry| entry.key == key);
            *entries = kept;
            taken.into_iter().map(|entry| entry.session).collect()
        })
    }

    /// The cloud no longer has it.
    pub fn forget(&self, session: u64) {
        self.with(|entries| entries.retain(|entry| entry.session != session));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(conversation: i64) -> Key {
        Key { conversation, version: 0, mode: Mode::Closed, threshold: 0 }
    }

    #[test]
    fn the_next_question_finds_the_session() {
        let sessions = Sessions::default();
        assert_eq!(sessions.lease(key(1), 10), Lease { session: 10, new: true, evicted: vec![] });
        // The same conversation while its answer runs: another session, never two answers in one.
        assert!(sessions.lease(key(1), 11).new);
        sessions.release(10);
        assert_eq!(sessions.lease(key(1), 12), Lease { session: 10, new: false, evicted: vec![] });
        assert!(sessions.lease(Key { version: 2, ..key(1) }, 13).new, "another adapter is another session");
        sessions.forget(10);
        assert!(sessions.lease(key(1), 14).new);
    }

    #[test]
    fn the_oldest_idle_one_makes_room_and_a_busy_one_never() {
        let sessions = Sessions::default();
        for i in 0..5 {
            sessions.lease(key(i), i as u64);
        }
        for i in 1..5 {
            sessions.release(i);
        }
        assert_eq!(sessions.lease(key(9), 9).evicted, [1]);
        sessions.forget(2);
        assert_eq!(sessions.take(key(3)), [3]);
        assert!(sessions.lease(key(10), 10).evicted.is_empty());
    }
}
