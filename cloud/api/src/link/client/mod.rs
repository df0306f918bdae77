//! The daemon's end: a link that connects and reconnects by itself, calls, and streamed exchanges.

mod connection;
mod driver;
mod exchange;

pub use exchange::Exchange;

use super::{Address, Limits, LinkError};
use crate::identity::{Identity, PublicKey};
use crate::proto::{self, reply, request};
use driver::Command;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How to connect.
#[derive(Clone)]
pub struct LinkConfig {
    /// Where the cloud listens.
    pub address: Address,
    /// Its pinned key.
    pub server_key: PublicKey,
    /// Who we are.
    pub identity: Identity,
    /// The secret of an invitation, to be used up first.
    pub secret: Option<Vec<u8>>,
    /// A folder of mode 0700 for the inner socket.
    pub private_dir: PathBuf,
    /// What is put up with.
    pub limits: Limits,
    /// Our build, for the cloud's log.
    pub build: String,
}

/// How the link is.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// No attempt has ended yet.
    Connecting,
    /// Connected.
    Up {
        /// What the cloud runs.
        model: Box<proto::Model>,
        /// Round trip, as last measured.
        rtt: Duration,
    },
    /// Not reachable; tried again in the background.
    Away {
        /// Why.
        why: String,
    },
    /// It does not want us, or is not who it should be.
    Refused {
        /// Why.
        why: String,
    },
}

/// Bytes of messages since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// To the cloud.
    pub up: u64,
    /// From the cloud.
    pub down: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    up: AtomicU64,
    down: AtomicU64,
}

/// A handle; the link ends when the last one goes.
#[derive(Clone)]
pub struct Link {
    commands: mpsc::UnboundedSender<Command>,
    state: watch::Receiver<State>,
    ids: Arc<AtomicU64>,
    counters: Arc<Counters>,
    unread: usize,
}

impl Link {
    /// Starts connecting in the background. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(config: LinkConfig) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (watch, state) = watch::channel(State::Connecting);
        let counters = Arc::new(Counters::default());
        let unread = config.limits.unread;
        tokio::spawn(driver::run(config, inbox, watch, Arc::clone(&counters)));
        Self { commands, state, ids: Arc::new(AtomicU64::new(1)), counters, unread }
    }

    /// How the link is, now and after every change.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Waits until the link is up; ends at once when it is refused.
    ///
    /// # Errors
    /// [`LinkError::Refused`], [`LinkError::Closed`].
    pub async fn ready(&self) -> Result<proto::Model, LinkError> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|s| matches!(s, State::Up { .. } | State::Refused { .. })).await;
        match settled.map_err(|_| LinkError::Closed)?.clone() {
            State::Up { model, .. } => Ok(*model),
            State::Refused { why } => Err(LinkError::Refused(why)),
            _ => Err(LinkError::Closed),
        }
    }

    /// One request, one reply.
    ///
    /// # Errors
    /// [`LinkError`]; a fault of the cloud is [`LinkError::Fault`].
    pub async fn call(&self, body: request::Body) -> Result<reply::Body, LinkError> {
        let mut exchange = self.open(body).await?;
        let reply = exchange.next().await;
        exchange.finish();
        reply
    }

    /// One request, many replies.
    ///
    /// # Errors
    /// [`LinkError::Away`] or [`LinkError::Refused`] when the link is not up.
    pub async fn open(&self, body: request::Body) -> Result<Exchange, LinkError> {
        match &*self.state.borrow() {
            State::Up { .. } => {}
            State::Refused { why } => return Err(LinkError::Refused(why.clone())),
            State::Away { why } => return Err(LinkError::Away(why.clone())),
            State::Connecting => return Err(LinkError::Away("still connecting".into())),
        }
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        Exchange::start(id, body, self.commands.clone(), self.unread)
    }

    /// Bytes so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic { up: load(&self.counters.up), down: load(&self.counters.down) }
    }

    /// Ends the link; other handles see [`LinkError::Closed`].
    pub async fn close(self) {
        let _ = self.commands.send(Command::Close);
        self.commands.closed().await;
    }
}
