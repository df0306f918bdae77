//! A session in use: opened in the cloud when it is new, free for the next question when dropped.

use aside_cloud_api::link::LinkError;
use aside_cloud_api::link::client::Link;
use aside_cloud_api::proto::{CloseSession, request};
use ring::rand::{SecureRandom, SystemRandom};

use super::{Key, Sessions};
use crate::turn::Plan;

/// A leased session.
pub struct Held<'a> {
    sessions: &'a Sessions,
    session: u64,
}

impl<'a> Held<'a> {
    /// Leases the session of `key` and opens it where the cloud does not have it.
    ///
    /// # Errors
    /// [`LinkError`]; nothing is leased then.
    pub async fn open(sessions: &'a Sessions, key: Key, link: &Link, plan: &Plan) -> Result<Self, LinkError> {
        let lease = sessions.lease(key, random());
        let held = Self { sessions, session: lease.session };
        for session in lease.evicted {
            link.call(request::Body::CloseSession(CloseSession { session })).await?;
        }
        if lease.new
            && let Err(error) = link.call(request::Body::OpenSession(plan.open_session(lease.session))).await
        {
            sessions.forget(lease.session);
            return Err(error);
        }
        Ok(held)
    }

    /// Its number.
    #[must_use]
    pub fn session(&self) -> u64 {
        self.session
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.sessions.release(self.session);
    }
}

/// Random bits, for names and seeds. A system without randomness gives the clock's.
#[must_use]
pub fn random() -> u64 {
    let mut bytes = [0; 8];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        return now.map_or(0, |now| now.as_nanos() as u64);
    }
    u64::from_le_bytes(bytes)
}
