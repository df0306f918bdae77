//! The task behind a link: connects, hands replies to their exchanges, keeps the connection alive, and tries again.

use super::super::{LinkError, backoff};
use super::connection::{Connection, connect};
use super::{Counters, LinkConfig, State};
use crate::proto::{self, reply, request};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// A reply with its size, or why there is none.
pub(super) type Answer = Result<(reply::Body, u64), LinkError>;

/// What handles ask of the task.
pub(super) enum Command {
    Open(proto::Request, mpsc::Sender<Answer>),
    Send(proto::Request),
    Forget(u64),
    Close,
}

/// The id of pings; exchanges count from 1.
const PING: u64 = 0;

struct Driver {
    inbox: mpsc::UnboundedReceiver<Command>,
    state: watch::Sender<State>,
    counters: Arc<Counters>,
    exchanges: HashMap<u64, mpsc::Sender<Answer>>,
    heartbeat: (Duration, Duration),
}

/// Runs until every handle is gone or one closes it.
pub(super) async fn run(
    config: LinkConfig,
    inbox: mpsc::UnboundedReceiver<Command>,
    state: watch::Sender<State>,
    counters: Arc<Counters>,
) {
    let heartbeat = config.limits.heartbeat;
    let mut driver = Driver { inbox, state, counters, exchanges: HashMap::new(), heartbeat };
    let mut secret = config.secret.clone();
    let seed = super::super::unique();
    let mut attempt = 0;
    loop {
        let connected = tokio::select! {
            connected = connect(&config, secret.as_deref()) => connected,
            () = driver.closed() => return,
        };
        let wait = match connected {
            Ok(connection) => {
                secret = None;
                attempt = 0;
                let up = State::Up { model: Box::new(connection.model.clone()), rtt: connection.rtt };
                driver.state.send_replace(up);
                match driver.serve(connection).await {
                    Some(why) => driver.state.send_replace(State::Away { why }),
                    None => return,
                };
                backoff::delay(0, seed)
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
                Command::Open(_, answers) => drop(answers.try_send(Err(LinkError::Lost))),
                Command::Send(_) | Command::Forget(_) => {}
                Command::Close => break,
            }
        }
        self.inbox.close();
    }

    /// Until the connection breaks (why) or the link is closed (`None`).
    async fn serve(&mut self, mut connection: Connection) -> Option<String> {
        let (quiet, silent) = self.heartbeat;
        let mut ticks = interval(quiet);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut heard, mut pinged) = (Instant::now(), None::<Instant>);
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
                received = connection.receive() => match received {
                    Ok((reply, bytes)) => {
                        heard = Instant::now();
                        if reply.id == PING {
                            if let Some(at) = pinged.take() {
                                self.measured(at.elapsed());
                            }
                        } else {
                            self.deliver(reply, bytes).await;
                        }
                    }
                    Err(error) => break error,
                },
                _ = ticks.tick() => {
                    if heard.elapsed() > silent {
                        break LinkError::Away("it fell silent".into());
                    }
                    if pinged.is_none() {
                        pinged = Some(Instant::now());
                        let ping = proto::Request { id: PING, body: Some(request::Body::Ping(proto::Ping {})) };
                        if let Err(error) = connection.send(&ping).await {
                            break error;
                        }
                    }
                }
            }
        };
        self.lose(&LinkError::Lost);
        Some(why.to_string())
    }

    async fn obey(&mut self, command: Command, connection: &mut Connection) -> Result<(), LinkError> {
        let request = match command {
            Command::Open(request, answers) => {
                self.exchanges.insert(request.id, answers);
                request
            }
            // Of an exchange that a lost connection ended: nothing to say any more.
            Command::Send(request) if !self.exchanges.contains_key(&request.id) => return Ok(()),
            Command::Send(request) => request,
            Command::Forget(id) => {
                self.exchanges.remove(&id);
                return Ok(());
            }
            Command::Close => return Ok(()),
        };
        self.counters.up.fetch_add(prost::Message::encoded_len(&request) as u64, Ordering::Relaxed);
        connection.send(&request).await
    }

    async fn deliver(&mut self, reply: proto::Reply, bytes: u64) {
        self.counters.down.fetch_add(bytes, Ordering::Relaxed);
        let (Some(answers), Some(body)) = (self.exchanges.get(&reply.id), reply.body) else { return };
        if answers.send(Ok((body, bytes))).await.is_err() {
            self.exchanges.remove(&reply.id);
        }
    }

    fn lose(&mut self, error: &LinkError) {
        for (_, answers) in self.exchanges.drain() {
            // A full queue just ends: its reader takes that for lost as well.
            let _ = answers.try_send(Err(error.clone()));
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
