//! Runs the state machine: turns keys, time, signals and the daemon's words into events, and effects into tasks.

use std::future::Future;
use std::time::Duration;

use aside_daemon_api::proto::aside_client::AsideClient;
use crossterm::event::{Event as Input, EventStream};
use futures::StreamExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tonic::transport::Channel;

use super::app::App;
use super::event::{Effect, Event};
use super::rpc;
use super::terminal::Screen;

/// Time between looks at the clock: for the draft's pause and the rate.
const TICK: Duration = Duration::from_millis(100);
/// Longest wait at the end for a draft to be kept.
const GOODBYE: Duration = Duration::from_secs(3);

/// A connection to the daemon, once there is one.
pub(super) type Client = AsideClient<Channel>;

/// What follows an event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Wait,
    Draw,
    Leave,
}

/// What runs besides the loop.
pub(super) struct Driver {
    app: App,
    events: mpsc::UnboundedReceiver<Event>,
    sender: mpsc::UnboundedSender<Event>,
    client: watch::Receiver<Option<Client>>,
    drafts: mpsc::UnboundedSender<rpc::Draft>,
    keeper: JoinHandle<()>,
    answer: Option<(u64, AbortHandle)>,
    daemon: AbortHandle,
}

impl Driver {
    /// A driver that begins to connect at once.
    pub(super) fn new<C, F>(app: App, connect: C) -> Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = color_eyre::Result<Client>> + Send + 'static,
    {
        let (sender, events) = mpsc::unbounded_channel();
        let (share, client) = watch::channel(None);
        let daemon = tokio::spawn(rpc::stay_connected(connect, share, sender.clone())).abort_handle();
        let (drafts, queue) = mpsc::unbounded_channel();
        let keeper = tokio::spawn(rpc::keep_drafts(queue, sender.clone()));
        Self { app, events, sender, client, drafts, keeper, answer: None, daemon }
    }

    /// Draws, waits, updates, until the person leaves.
    pub(super) async fn run(mut self, screen: &mut Screen) -> color_eyre::Result<u8> {
        let start = Instant::now();
        screen.draw(&self.app)?;
        let mut keys = EventStream::new();
        let mut clock = tokio::time::interval(TICK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut end = ends()?;
        loop {
            let first = tokio::select! {
                biased;
                () = end.recv() => Event::Terminate,
                key = keys.next() => match key {
                    Some(Ok(input)) => match translate(input) {
                        Some(event) => event,
                        None => continue,
                    },
                    // The terminal is gone.
                    Some(Err(_)) | None => Event::Terminate,
                },
                Some(event) = self.events.recv() => event,
                _ = clock.tick() => Event::Tick(start.elapsed()),
            };
            // Time alone shows nothing new: an idle chat is silent on the line.
            let silent = matches!(first, Event::Tick(_));
            let mut next = self.step(Event::Tick(start.elapsed())).max(self.step(first));
            // What came meanwhile is drawn in the same frame.
            while let Ok(event) = self.events.try_recv() {
                next = next.max(self.step(event)).max(Next::Draw);
            }
            match next {
                Next::Leave => return self.goodbye().await,
                Next::Wait if silent => {}
                Next::Wait | Next::Draw => screen.draw(&self.app)?,
            }
        }
    }

    /// One event through the state machine.
    fn step(&mut self, event: Event) -> Next {
        let effects = self.app.update(event);
        effects.into_iter().fold(Next::Wait, |next, effect| next.max(self.perform(effect)))
    }

    fn perform(&mut self, effect: Effect) -> Next {
        match effect {
            Effect::Quit => return Next::Leave,
            Effect::Cancel(number) => {
                if let Some((_, task)) = self.answer.take_if(|(current, _)| *current == number) {
                    task.abort();
                }
            }
            Effect::Ask(number, request) => {
                let Some(client) = self.connected() else { return Next::Draw };
                let task = tokio::spawn(rpc::ask(client, number, request, self.sender.clone()));
                self.answer = Some((number, task.abort_handle()));
            }
            Effect::SaveDraft { conversation, text } => {
                let Some(client) = self.connected() else { return Next::Draw };
                // It fails only when the keeper has ended, and that ends with us.
                let _ = self.drafts.send((client, conversation, text));
            }
            other => {
                let Some(client) = self.connected() else { return Next::Draw };
                tokio::spawn(rpc::simple(client, other, self.sender.clone()));
            }
        }
        Next::Draw
    }

    /// The connection; without one the state machine hears of it from `stay_connected`.
    fn connected(&self) -> Option<Client> {
        self.client.borrow().clone()
    }

    async fn goodbye(self) -> color_eyre::Result<u8> {
        drop(self.drafts);
        let _ = timeout(GOODBYE, self.keeper).await;
        self.daemon.abort();
        Ok(0)
    }
}

fn translate(input: Input) -> Option<Event> {
    match input {
        Input::Key(key) => Some(Event::Key(key)),
        Input::Paste(text) => Some(Event::Paste(text)),
        Input::Resize(columns, rows) => Some(Event::Resize(columns, rows)),
        Input::FocusGained | Input::FocusLost | Input::Mouse(_) => None,
    }
}

/// The signals that end a terminal program.
struct Ends {
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

fn ends() -> std::io::Result<Ends> {
    use tokio::signal::unix::{SignalKind, signal};
    Ok(Ends {
        terminate: signal(SignalKind::terminate())?,
        hangup: signal(SignalKind::hangup())?,
        interrupt: signal(SignalKind::interrupt())?,
    })
}

impl Ends {
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
