//! Keys: looked up in the one table of commands; what is no command edits the message.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{App, Areas, Overlay};
use crate::screen::commands::{self, Action, Place};
use crate::screen::event::Effect;
use crate::screen::transcript::{Entry, Rating, State, View};

/// A Ctrl+C that comes this soon after the end of an answer came too late for it.
const TOO_LATE: Duration = Duration::from_millis(700);

impl App {
    /// Where keys go.
    pub(crate) fn place(&self) -> Place {
        match (&self.overlay, &self.card) {
            (Some(Overlay::Help(_)), _) => Place::Help,
            (Some(Overlay::List { .. }), None) => Place::List,
            (_, Some(_)) => Place::Card,
            (None, None) => Place::Chat,
        }
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Vec<Effect> {
        if key.kind == KeyEventKind::Release {
            return Vec::new();
        }
        let place = self.place();
        let action = commands::find(place, &key).map(|command| command.action);
        match (place, action) {
            (Place::Chat, action) => self.chat_key(action, key),
            (_, Some(Action::Help)) => self.overlay_action(Action::Help),
            (Place::Card, Some(action)) => self.card_action(action),
            (Place::Card, None) => {
                self.card_key(key);
                Vec::new()
            }
            // The first Ctrl+C on an overlay only puts it away.
            (_, Some(Action::Stop | Action::Quit)) => self.overlay_action(Action::Close),
            (_, Some(action)) => self.overlay_action(action),
            (_, None) => Vec::new(),
        }
    }

    fn chat_key(&mut self, action: Option<Action>, key: KeyEvent) -> Vec<Effect> {
        let typed = !self.composer.is_empty();
        match action {
            // With text in the editor these keys edit it.
            Some(Action::Quit | Action::LineUp | Action::LineDown) if typed => self.edit(key),
            Some(action) => self.act(action),
            None => self.edit(key),
        }
    }

    fn edit(&mut self, key: KeyEvent) -> Vec<Effect> {
        let strange =
            key.modifiers.intersects(KeyModifiers::SUPER | KeyModifiers::HYPER | KeyModifiers::META);
        let control = matches!(key.code, KeyCode::Char(c) if c.is_control());
        if !strange && !control && self.composer.key(key) {
            self.typed();
        }
        Vec::new()
    }

    pub(super) fn paste(&mut self, text: &str) -> Vec<Effect> {
        match self.place() {
            Place::Chat => {
                self.composer.insert(text);
                self.typed();
            }
            Place::Card => self.card_paste(text),
            Place::List | Place::Help => {}
        }
        Vec::new()
    }

    /// A command in the chat.
    fn act(&mut self, action: Action) -> Vec<Effect> {
        let page = isize::try_from(Areas::of(self).transcript.height.saturating_sub(1).max(1)).unwrap_or(1);
        match action {
            Action::Send => self.send(),
            Action::NewLine => {
                self.composer.insert("\n");
                self.typed();
                Vec::new()
            }
            Action::Complete => self.complete(),
            Action::Stop => self.stop_or_leave(),
            Action::Quit | Action::Leave => self.leave(),
            Action::New => self.new_conversation(),
            Action::Private => self.private_conversation(),
            Action::List => self.list(),
            Action::Learn => self.ask_to_learn(),
            Action::Again => self.again(),
            Action::Good => self.rate(Rating::Good),
            Action::Bad => self.rate(Rating::Bad),
            Action::Edit => self.edit_answer(),
            Action::LearnHere => self.switch_learning(),
            Action::AdapterHere => self.switch_adapter(),
            Action::Marks => {
                self.marks = !self.marks;
                Vec::new()
            }
            Action::Help => self.overlay_action(Action::Help),
            Action::PageUp => self.scroll(-page),
            Action::PageDown => self.scroll(page),
            Action::LineUp => self.scroll(-1),
            Action::LineDown => self.scroll(1),
            Action::Top => self.scroll(isize::MIN / 2),
            Action::End => {
                self.view = View::Follow;
                Vec::new()
            }
            Action::Dismiss => {
                self.problem = None;
                if std::mem::take(&mut self.editing) {
                    self.composer.set("");
                }
                Vec::new()
            }
            Action::Up | Action::Down | Action::Choose | Action::Close => Vec::new(),
        }
    }

    /// Ctrl+C: stops the answer; takes back what waits; otherwise leaves. Just after an answer ended by itself it was
    /// meant for the answer, and does nothing.
    fn stop_or_leave(&mut self) -> Vec<Effect> {
        if self.turn.as_ref().is_some_and(|turn| !turn.stopping) {
            return self.stop();
        }
        if self.ended.take().is_some_and(|ended| self.now < ended + TOO_LATE) {
            return Vec::new();
        }
        if self.first_queued().is_some() {
            self.unqueue();
            return Vec::new();
        }
        self.leave()
    }

    /// The message waits in the transcript; it goes out as soon as all is ready, often at once.
    fn send(&mut self) -> Vec<Effect> {
        let text = self.composer.text();
        if text.trim().is_empty() {
            return Vec::new();
        }
        self.problem = None;
        self.typed();
        self.composer.set("");
        if std::mem::take(&mut self.editing) {
            return self.edited(text);
        }
        if let Some(command) = commands::slash(&text) {
            return self.act(command.action);
        }
        if self.title.is_empty() {
            self.title = crate::screen::text::one_line(&text);
        }
        self.transcript.push(Entry::person(text, State::Queued));
        self.view = View::Follow;
        self.keep_draft().into_iter().collect()
    }

    fn complete(&mut self) -> Vec<Effect> {
        if let Some(name) =
            commands::completions(&self.composer.text()).first().and_then(|command| command.slash)
        {
            self.composer.set(name);
            self.typed();
        }
        Vec::new()
    }

    fn ask_to_learn(&mut self) -> Vec<Effect> {
        if self.vault_open() && self.learning.is_none() {
            self.learning = Some(aside_daemon_api::proto::LearnProgress::default());
            return vec![Effect::Learn];
        }
        Vec::new()
    }
}
