//! What a person thinks of an answer, and what may happen with a conversation.

use aside_daemon_api::proto;

use super::App;
use crate::screen::event::Effect;
use crate::screen::provenance::Ranges;
use crate::screen::theme::Meaning;
use crate::screen::transcript::{Rating, Who};

const KEPT_NOWHERE: &str =
    "This conversation is private: it is kept nowhere, and nothing is learned from it.";

impl App {
    /// The entry of the last answer, once it is complete and stored.
    fn rateable(&mut self) -> Option<usize> {
        if self.private {
            self.note(Meaning::Quiet, KEPT_NOWHERE);
            return None;
        }
        let entries = self.transcript.entries();
        let last = entries.iter().rposition(|entry| entry.who == Who::Model && !entry.text.is_empty());
        let found = last.filter(|_| self.turn.is_none() && self.conversation != 0);
        if found.is_none() {
            self.note(Meaning::Quiet, "There is no finished answer yet.");
        }
        found
    }

    pub(super) fn rate(&mut self, rating: Rating) -> Vec<Effect> {
        let Some(entry) = self.rateable() else { return Vec::new() };
        self.transcript.change(entry, |entry| entry.rating = rating);
        vec![self.rated(rating, String::new())]
    }

    /// Puts the last answer into the composer.
    pub(super) fn edit_answer(&mut self) -> Vec<Effect> {
        let Some(entry) = self.rateable() else { return Vec::new() };
        let text = self.transcript.entries().get(entry).map(|entry| entry.text.clone()).unwrap_or_default();
        self.composer.set(&text);
        self.editing = true;
        Vec::new()
    }

    /// The answer as it should have been: the person's words, chosen by no network.
    pub(super) fn edited(&mut self, text: String) -> Vec<Effect> {
        let Some(entry) = self.rateable() else { return Vec::new() };
        self.transcript.change(entry, |entry| {
            entry.text.clone_from(&text);
            entry.ranges = Ranges::default();
            entry.ranges.fit(text.len());
            entry.rating = Rating::Edited;
        });
        vec![self.rated(Rating::Edited, text)]
    }

    fn rated(&self, rating: Rating, text: String) -> Effect {
        let rating = rating.word().to_owned();
        Effect::Rate(proto::RateRequest { conversation: self.conversation, rating, text })
    }

    pub(super) fn switch_learning(&mut self) -> Vec<Effect> {
        let learn = Some(!self.switches.0);
        self.switch(proto::SwitchRequest { learn, ..Default::default() })
    }

    pub(super) fn switch_adapter(&mut self) -> Vec<Effect> {
        let use_adapter = Some(!self.switches.1);
        self.switch(proto::SwitchRequest { use_adapter, ..Default::default() })
    }

    fn switch(&mut self, request: proto::SwitchRequest) -> Vec<Effect> {
        if self.private {
            self.note(Meaning::Quiet, KEPT_NOWHERE);
            return Vec::new();
        }
        if self.conversation == 0 {
            self.note(Meaning::Quiet, "Say something first: this conversation has not begun.");
            return Vec::new();
        }
        vec![Effect::Switch(proto::SwitchRequest { conversation: self.conversation, ..request })]
    }

    /// How it stands now, in words.
    pub(super) fn switched(&mut self, head: &proto::ConversationHead) {
        if head.id != self.conversation {
            return;
        }
        let before = std::mem::replace(&mut self.switches, (head.learn, head.use_adapter));
        let text = match (before.0 == head.learn, head.learn, head.use_adapter) {
            (false, true, _) => "This conversation may be learned from.",
            (false, false, _) => {
                "This conversation is not learned from any more. What was learned already: aside adapter forget"
            }
            (true, _, true) => "The adapter takes part in this conversation.",
            (true, _, false) => "The adapter stays out of this conversation: base answers.",
        };
        self.note(Meaning::Good, text);
    }

    /// The switches of the conversation that is on screen.
    pub(super) fn take_switches(&mut self, head: &proto::ConversationHead) {
        self.switches = if head.id == 0 { (true, true) } else { (head.learn, head.use_adapter) };
        self.editing = false;
    }
}
