//! What can lie over the chat: the help, and the list of conversations.

use aside_daemon_api::proto;

use super::{App, Areas};
use crate::screen::commands::Action;
use crate::screen::event::{Effect, Problem};
use crate::screen::provenance::Tally;
use crate::screen::theme::Meaning;
use crate::screen::transcript::{Entry, Transcript, View, Who};

/// What lies over the chat.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Overlay {
    /// All commands; scrolled by lines.
    Help(usize),
    /// The conversations; nothing until they came. The first choice, 0, is a new one.
    List { heads: Option<Vec<proto::ConversationHead>>, chosen: usize },
}

impl App {
    pub(super) fn list(&mut self) -> Vec<Effect> {
        if !self.vault_open() || self.answering() {
            return Vec::new();
        }
        self.overlay = Some(Overlay::List { heads: None, chosen: 0 });
        vec![Effect::List]
    }

    pub(super) fn listed(&mut self, new: Vec<proto::ConversationHead>) -> Vec<Effect> {
        if let Some(Overlay::List { heads, chosen }) = &mut self.overlay {
            let here = new.iter().position(|head| head.id == self.conversation);
            *chosen = here.map_or(0, |i| i + 1);
            *heads = Some(new);
        }
        Vec::new()
    }

    pub(super) fn overlay_action(&mut self, action: Action) -> Vec<Effect> {
        let page = usize::from(Areas::of(self).transcript.height / 2).max(1);
        let by = match action {
            Action::Close => {
                self.overlay = None;
                return Vec::new();
            }
            Action::Help => {
                self.overlay = Some(Overlay::Help(0));
                return Vec::new();
            }
            Action::Choose => return self.choose(),
            Action::New => return self.new_conversation(),
            Action::Up => -1,
            Action::Down => 1,
            Action::PageUp => 0_isize.saturating_sub_unsigned(page),
            Action::PageDown => 0_isize.saturating_add_unsigned(page),
            _ => 0,
        };
        match &mut self.overlay {
            Some(Overlay::Help(top)) => {
                let last = crate::screen::draw::help_height(self.size.0)
                    .saturating_sub(self.size.1.saturating_sub(2).into());
                *top = top.saturating_add_signed(by).min(last);
            }
            Some(Overlay::List { heads, chosen }) => {
                let last = heads.as_ref().map_or(0, Vec::len);
                *chosen = chosen.saturating_add_signed(by).min(last);
            }
            None => {}
        }
        Vec::new()
    }

    fn choose(&mut self) -> Vec<Effect> {
        let Some(Overlay::List { heads: Some(heads), chosen }) = &self.overlay else { return Vec::new() };
        let Some(head) = chosen.checked_sub(1).and_then(|i| heads.get(i)) else {
            return self.new_conversation();
        };
        let id = head.id;
        let open = Effect::Open(id);
        self.opening = Some(id);
        self.overlay = None;
        self.keep_draft().into_iter().chain([open]).collect()
    }

    /// A new conversation; its draft is empty.
    pub(super) fn new_conversation(&mut self) -> Vec<Effect> {
        if self.answering() {
            return Vec::new();
        }
        self.overlay = None;
        if self.conversation == 0 && self.transcript.entries().is_empty() {
            return Vec::new();
        }
        let kept = self.keep_draft();
        self.open(proto::Conversation::default());
        kept.into_iter().collect()
    }

    /// Starts a conversation of which nothing is kept.
    pub(super) fn private_conversation(&mut self) -> Vec<Effect> {
        if self.answering() {
            return Vec::new();
        }
        let kept = self.keep_draft();
        self.open(proto::Conversation::default());
        self.private = true;
        self.opening = None;
        let told = "Private: no message, no draft and no lesson of this conversation is kept. It is gone with the \
                    next conversation or when you leave. The adapter answers here, and learns nothing.";
        self.note(Meaning::Warn, told);
        kept.into_iter().collect()
    }

    /// Says why nothing happens, when an answer is being written.
    fn answering(&mut self) -> bool {
        let answering = self.turn.is_some() || self.first_queued().is_some();
        if answering {
            let message = "An answer is still being written; Ctrl+C stops it.".to_owned();
            self.problem = Some(Problem { message, ..Problem::default() });
        }
        answering
    }

    /// Shows a stored conversation, and what is not sent of it.
    pub(super) fn open(&mut self, conversation: proto::Conversation) {
        if self.turn.is_some() || self.first_queued().is_some() {
            return;
        }
        let head = conversation.head.unwrap_or_default();
        self.take_switches(&head);
        self.conversation = head.id;
        self.private = false;
        self.title = head.title;
        let entries: Vec<Entry> = conversation.messages.into_iter().map(Entry::stored).collect();
        let counted = |entry: &&Entry| entry.who == Who::Model && entry.tally != Tally::default();
        self.last = entries.iter().rev().find(counted).map(|entry| entry.tally);
        let width = Areas::of(self).transcript.width.into();
        self.transcript = Transcript::new(entries, width, self.marks);
        self.view = View::Follow;
        self.problem = None;
        self.show_draft(&conversation.draft);
    }
}
