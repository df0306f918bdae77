//! The screen as a pure state machine: `update(event) -> effects`. No clock, no IO; time comes with `Event::Tick`.

mod answer;
mod areas;
mod card;
mod daemon;
mod draft;
mod keys;
mod overlay;
mod rate;

use std::time::Duration;

use aside_daemon_api::proto;

pub(crate) use answer::Turn;
pub(crate) use areas::Areas;
pub(crate) use card::{Card, SLOTS, Setup, Step, Unlock};
pub(crate) use daemon::Daemon;
pub(crate) use overlay::Overlay;

use super::composer::Composer;
use super::event::{Effect, Event, Problem};
use super::provenance::Tally;
use super::theme::Palette;
use super::transcript::{Transcript, View};

/// Everything the screen shows.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) palette: Palette,
    /// The variant asked for; empty is the daemon's choice.
    pub(crate) variant: String,
    pub(crate) now: Duration,
    pub(crate) size: (u16, u16),
    pub(crate) daemon: Daemon,
    pub(crate) status: Option<proto::StatusReply>,
    pub(crate) card: Option<Card>,
    pub(crate) overlay: Option<Overlay>,
    pub(crate) composer: Composer,
    pub(crate) transcript: Transcript,
    pub(crate) view: View,
    /// Whether provenance is shown.
    pub(crate) marks: bool,
    /// Text arrived below what is on screen.
    pub(crate) unseen: bool,
    /// 0 is the one not started yet, and a private one.
    pub(crate) conversation: i64,
    /// What is said here is kept nowhere: the transcript on screen is all there is of it.
    pub(crate) private: bool,
    /// The stored conversation that was asked for last and has not come yet.
    opening: Option<i64>,
    pub(crate) title: String,
    pub(crate) turn: Option<Turn>,
    /// What happened in the last answer, if there was one.
    pub(crate) last: Option<Tally>,
    /// Variant that the last answer was made with.
    pub(crate) answered_by: String,
    /// Learning that was asked for here.
    pub(crate) learning: Option<proto::LearnProgress>,
    pub(crate) problem: Option<Problem>,
    /// The composer holds the last answer, to be written as it should have been.
    pub(crate) editing: bool,
    /// It may be learned from this conversation, and the adapter may take part in it.
    switches: (bool, bool),
    drafts: draft::Drafts,
    asked: u64,
    /// A refused question is not sent again before this time.
    retry: Duration,
    /// When an answer last came to its end.
    ended: Option<Duration>,
    /// The draft of last time was asked for.
    restoring: bool,
}

impl App {
    /// A screen before anything is known.
    pub(crate) fn new(palette: Palette, variant: String, size: (u16, u16)) -> Self {
        let mut app = Self {
            palette,
            variant,
            now: Duration::ZERO,
            size,
            daemon: Daemon::Starting,
            status: None,
            card: None,
            overlay: None,
            composer: Composer::new(palette),
            transcript: Transcript::default(),
            view: View::Follow,
            marks: true,
            unseen: false,
            conversation: 0,
            private: false,
            opening: None,
            title: String::new(),
            turn: None,
            last: None,
            answered_by: String::new(),
            learning: None,
            problem: None,
            editing: false,
            switches: (true, true),
            drafts: draft::Drafts::default(),
            asked: 0,
            retry: Duration::ZERO,
            ended: None,
            restoring: false,
        };
        app.settle();
        app
    }

    /// What an event changes and asks for.
    pub(crate) fn update(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = self.dispatch(event);
        self.pump(&mut effects);
        self.settle();
        effects
    }

    fn dispatch(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Key(key) => self.key(key),
            Event::Paste(text) => self.paste(&text),
            Event::Resize(columns, rows) => {
                self.size = (columns, rows);
                Vec::new()
            }
            Event::Tick(now) => {
                self.now = now;
                self.keep_draft_at_pause()
            }
            Event::Terminate => self.leave(),
            Event::Answer(turn, event) => self.answer(turn, event),
            Event::AnswerFailed(turn, problem) => self.answer_failed(turn, problem),
            Event::Conversations(heads) => self.listed(heads),
            Event::Opened(conversation) => {
                let id = conversation.head.as_ref().map(|head| head.id);
                // What was asked for before must not take the place of a private conversation.
                if !self.private || self.opening == id {
                    self.open(conversation);
                }
                Vec::new()
            }
            Event::Restored(conversation) => {
                self.restored(conversation);
                Vec::new()
            }
            Event::Failed(problem) => {
                self.problem = Some(problem);
                Vec::new()
            }
            other => self.news(other),
        }
    }

    /// Lays out what changed and keeps the place.
    fn settle(&mut self) {
        let areas = Areas::of(self);
        self.view = self.view.relayout(&mut self.transcript, areas.transcript.width.into(), self.marks);
        if self.view == View::Follow {
            self.unseen = false;
        }
    }

    /// Moves through the transcript.
    fn scroll(&mut self, by: isize) -> Vec<Effect> {
        let height = Areas::of(self).transcript.height.into();
        self.view = self.view.scroll(by, self.transcript.height(), height);
        Vec::new()
    }

    /// Leaves, with the draft kept.
    fn leave(&mut self) -> Vec<Effect> {
        self.unqueue();
        let turn = self.turn.take().map(|turn| Effect::Cancel(turn.number));
        turn.into_iter().chain(self.keep_draft()).chain([Effect::Quit]).collect()
    }
}
