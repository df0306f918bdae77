//! The task behind a link: connects, hands replies to their exchanges, keeps the connection alive, and tries again.

use super::super::{LinkError, backoff};
use super::connection::{Connection, connect};
use super::exchange::Reader;
use super::{Counters, LinkConfig, State};
use crate::proto::{self, reply, request};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

/// A reply with its size, or why there is none.
pub(super) type Answer = Result<(reply::Body, u64), LinkError>;

/// What handles ask of the task.
pub(super) enum Command {
    Open(proto::Request, Reader),
    Send(proto::Request),
    Forget(u64),
    Close,
}

/// A connection that lived as long was a good one.
const STEADY: Duration = Duration::from_secs(10);

/// The id of pings; exchanges count from 1.
const PING: u64 = 0;

struct Driver {
    inbox: mpsc::UnboundedReceiver<Command>,
    state: watch::Sender<State>,
    counters: Arc<Counters>,
    exchanges: HashMap<u64, Reader>,
    held: Option<Held>,
    heartbeat: (Duration, Duration),
}

/// A reply whose exchange holds all it may: nothing more is read from the connection until its reader took some, or
/// did not for too long.
struct Held {
    id: u64,
    body: reply::Body,
    bytes: u64,
    reader: Reader,
    until: Instant,
}

/// Runs until every handle is gone or one closes it.
pub(super) async fn run(
    config: LinkConfig,
    inbox: mpsc::UnboundedReceiver<Command>,
    state: watch::Sender<State>,
    counters: Arc<Counters>,
) {
    let heartbeat = config.limits.heartbeat;
    let mut driver = Driver { inbox, state, counters, exchanges: HashMap::new(), held: None, heartbeat };
    let mut secret = config.secret.clone();
    let seed = super::super::unique();
    let mut attempt = 0u32;
    loop {
        let connected = tokio::select! {
            connected = connect(&config, secret.as_deref()) => connected,
            () = driver.closed() => return,
        };
        let wait = match connected {
            Ok(connection) => {
                secret = None;
                let since = Instant::now();
                let up = State::Up { model: Box::new(connection.model.clone()), rtt: connection.rtt };
                driver.state.send_replace(up);
                match driver.serve(connection).await {
                    Some(why) => driver.state.send_replace(State::Away { why }),
                    None => return,
                };
                // A cloud that dies again and again is no reason to hurry.
                attempt = if since.elapsed() > STEADY { 1 } else { attempt + 1 };
                backoff::delay(attempt - 1, seed)
            }
            Err(LinkError::Refused(why)) => {
                driver.state.send_replace(State::Refused { why });
                backoff::refused()
            }
            Err(error) => {
                let why = match error {
                    LinkError::Away(why) => why,
                    other => other.to_string(),
                };
                driver.state.send_replace(State::Away { why });
                attempt += 1;
                backoff::delay(attempt - 1, seed)
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = driver.closed() => return,
        }
    }
}

impl Driver {
    /// While there is no connection: exchanges are answered as lost; ends when the link is closed.
    async fn closed(&mut self) {
        while let Some(command) = self.inbox.recv().await {
            match command {
                Command::Open(_, reader) => reader.end(LinkError::Lost),
                Command::Send(_) | Command::Forget(_) => {}
                Command::Close => break,
            }
        }
        self.inbox.close();
    }

    /// Until the connection breaks (why) or the link is closed (`None`).
    async fn serve(&mut self, mut connection: Connection) -> Option<String> {
        let mut ticks = interval(self.heartbeat.0);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pinged = None::<Instant>;
        let why = loop {
            tokio::select! {
                command = self.inbox.recv() => match command {
                    None | Some(Command::Close) => {
                        self.lose(&LinkError::Closed);
                        self.inbox.close();
                        return None;
                    }
                    Some(command) => {
                        if let Err(error) = self.obey(command, &mut connection).await {
                            break error;
                        }
                    }
                },
                received = connection.receive(), if self.held.is_none() => match received {
                    Ok((reply, bytes)) => {
                        if reply.id == PING {
                            if let Some(at) = pinged.take() {
                                self.measured(at.elapsed());
                            }
                        } else {
                            self.deliver(reply, bytes);
                        }
                    }
                    Err(error) => break error,
                },
                room = room(self.held.as_ref()), if self.held.is_some() => {
                    if let Err(error) = self.resume(room, &mut connection).await {
                        break error;
                    }
                }
                _ = ticks.tick() => {
                    // Sent even when the last one is unanswered: the cloud listens for silence too.
                    pinged.get_or_insert_with(Instant::now);
                    let ping = proto::Request { id: PING, body: Some(request::Body::Ping(proto::Ping {})) };
                    if let Err(error) = connection.send(&ping).await {
                        break error;
                    }
                }
            }
        };
        self.lose(&LinkError::Lost);
        Some(why.to_string())
    }

    async fn obey(&mut self, command: Command, connection: &mut Connection) -> Result<(), LinkError> {
        let request = match command {
            Command::Open(request, reader) => {
                self.exchanges.insert(request.id, reader);
                request
            }
            // Of an exchange that a lost connection ended: nothing to say any more.
            Command::Send(request) if !self.exchanges.contains_key(&request.id) => return Ok(()),
            Command::Send(request) => request,
            Command::Forget(id) => {
                self.exchanges.remove(&id);
                self.held.take_if(|held| held.id == id);
                return Ok(());
            }
            Command::Close => return Ok(()),
        };
        self.counters.up.fetch_add(prost::Message::encoded_len(&request) as u64, Ordering::Relaxed);
        connection.send(&request).await
    }

    fn deliver(&mut self, reply: proto::Reply, bytes: u64) {
        self.counters.down.fetch_add(bytes, Ordering::Relaxed);
        let (id, Some(body)) = (reply.id, reply.body) else { return };
        let Some(reader) = self.exchanges.get(&id) else { return };
        if reader.has_room(bytes) {
            reader.give(body, bytes);
        } else {
            let until = Instant::now() + self.heartbeat.1;
            self.held = Some(Held { id, body, bytes, reader: reader.clone(), until });
        }
    }

    /// Goes on with the reply that was held: there is room now, or its reader was too slow and its exchange ends.
    async fn resume(&mut self, room: bool, connection: &mut Connection) -> Result<(), LinkError> {
        let Some(held) = self.held.take() else { return Ok(()) };
        if room {
            held.reader.give(held.body, held.bytes);
            return Ok(());
        }
        self.exchanges.remove(&held.id);
        held.reader.end(LinkError::Lost);
        let cancel = request::Body::Cancel(proto::Cancel {});
        connection.send(&proto::Request { id: held.id, body: Some(cancel) }).await
    }

    fn lose(&mut self, error: &LinkError) {
        self.held = None;
        for (_, reader) in self.exchanges.drain() {
            reader.end(error.clone());
        }
    }

    fn measured(&self, rtt: Duration) {
        self.state.send_if_modified(|state| match state {
            State::Up { rtt: old, .. } => {
                *old = rtt;
                true
            }
            _ => false,
        });
    }
}

/// Whether there is room for the held reply; false when its reader took nothing for too long.
async fn room(held: Option<&Held>) -> bool {
    match held {
        Some(held) => timeout_at(held.until, held.reader.room(held.bytes)).await.is_ok(),
        None => false,
    }
}
