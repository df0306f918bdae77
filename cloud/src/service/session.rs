//! Sessions: a client's key/value cache and gate. Kept across reconnects of the same key, dropped when idle.

use super::gate::Gating;
use crate::engine::{Backbone, Result, Sequence};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Sessions of one client; the one idle for longest makes room.
const PER_CLIENT: usize = 8;
/// Idle time after which a session goes.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// (client, number chosen by the client).
pub(super) type Name = (String, u64);

/// One session.
pub(super) struct Session {
    pub(super) sequence: Sequence,
    /// What the cache holds.
    pub(super) tokens: Vec<u32>,
    pub(super) gating: Gating,
    used: Instant,
}

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions(BTreeMap<Name, Session>);

impl Sessions {
    /// Opens a session, or gives an open one another gate. False when all of this client's are `busy`.
    pub(super) fn open(
        &mut self,
        engine: &mut dyn Backbone,
        name: Name,
        gating: Gating,
        now: Instant,
        busy: &BTreeSet<Name>,
    ) -> Result<bool> {
        if let Some(session) = self.0.get_mut(&name) {
            session.gating = gating;
            session.used = now;
            return Ok(true);
        }
        let of_client = self.0.iter().filter(|(n, _)| n.0 == name.0);
        if of_client.clone().count() >= PER_CLIENT {
            let idle = of_client.filter(|(n, _)| !busy.contains(*n));
            let Some(oldest) = idle.min_by_key(|(_, s)| s.used).map(|(n, _)| n.clone()) else {
                return Ok(false);
            };
            self.close(engine, &oldest);
        }
        let session = Session { sequence: engine.begin()?, tokens: Vec::new(), gating, used: now };
        self.0.insert(name, session);
        Ok(true)
    }

    pub(super) fn close(&mut self, engine: &mut dyn Backbone, name: &Name) {
        if let Some(session) = self.0.remove(name) {
            engine.end(session.sequence);
        }
    }

    /// Drops what was idle for too long and is not `busy`.
    pub(super) fn expire(&mut self, engine: &mut dyn Backbone, now: Instant, busy: &BTreeSet<Name>) {
        let idle = |n: &Name, s: &Session| now.saturating_duration_since(s.used) > IDLE && !busy.contains(n);
        let names: Vec<Name> = self.0.iter().filter(|(n, s)| idle(n, s)).map(|(n, _)| n.clone()).collect();
        names.iter().for_each(|name| self.close(engine, name));
    }

    pub(super) fn get(&self, name: &Name) -> Option<&Session> {
        self.0.get(name)
    }

    pub(super) fn touch(&mut self, name: &Name, now: Instant) -> Option<&mut Session> {
        let session = self.0.get_mut(name)?;
        session.used = now;
        Some(session)
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

impl Session {
    /// Cuts the cache to what it shares with `tokens`, but for the last one, whose state is always computed. Gives
    /// how many positions stay.
    pub(super) fn reuse(&mut self, engine: &mut dyn Backbone, tokens: &[u32]) -> Result<usize> {
        let shared = self.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        let kept = shared.min(tokens.len().saturating_sub(1));
        if kept < self.tokens.len() {
            engine.truncate(self.sequence, kept)?;
            self.tokens.truncate(kept);
        }
        Ok(kept)
    }
}
