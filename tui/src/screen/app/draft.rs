//! Drafts: what is typed and not sent is kept in the vault at every pause, per conversation, and comes back.

use std::time::Duration;

use aside_daemon_api::proto;

use super::{App, Daemon};
use crate::screen::event::Effect;

/// A pause in typing after which the draft is kept.
const PAUSE: Duration = Duration::from_millis(700);

/// What of the draft is kept already.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    kept: String,
    /// When a key last changed the text.
    typed: Duration,
    /// A person has typed or sent something since the start.
    touched: bool,
}

impl App {
    /// The text changed just now.
    pub(super) fn typed(&mut self) {
        self.drafts.typed = self.now;
        self.drafts.touched = true;
    }

    /// Keeps the draft, if it changed since it was kept.
    pub(super) fn keep_draft(&mut self) -> Option<Effect> {
        let text = self.composer.text();
        // An answer that is being rewritten is no message on its way.
        if text == self.drafts.kept || self.editing || self.private || !self.vault_open() {
            return None;
        }
        self.drafts.kept.clone_from(&text);
        Some(Effect::SaveDraft { conversation: self.conversation, text })
    }

    pub(super) fn keep_draft_at_pause(&mut self) -> Vec<Effect> {
        let paused = self.now.saturating_sub(self.drafts.typed) >= PAUSE;
        if paused { self.keep_draft().into_iter().collect() } else { Vec::new() }
    }

    /// The conversation got its number: what is typed meanwhile is its draft, no longer that of the one not started.
    pub(super) fn moved_to(&mut self, conversation: i64) -> Vec<Effect> {
        let before = std::mem::replace(&mut self.conversation, conversation);
        if before == conversation || std::mem::take(&mut self.drafts.kept).is_empty() {
            return Vec::new();
        }
        vec![Effect::SaveDraft { conversation: before, text: String::new() }]
    }

    /// Shows the draft of a conversation that was opened.
    pub(super) fn show_draft(&mut self, text: &str) {
        self.composer.set(text);
        self.drafts.kept = self.composer.text();
    }

    /// Once the vault is open: asks for the draft of last time, unless a person is ahead of us.
    pub(super) fn restore(&mut self) -> Option<Effect> {
        let first = self.vault_open() && !std::mem::replace(&mut self.restoring, true);
        (first && !self.drafts.touched).then_some(Effect::Restore)
    }

    /// The draft of last time came.
    pub(super) fn restored(&mut self, conversation: proto::Conversation) {
        if !self.drafts.touched && self.turn.is_none() && self.transcript.entries().is_empty() {
            self.open(conversation);
        }
    }

    /// Whether the daemon can keep and give back what is in the vault.
    pub(super) fn vault_open(&self) -> bool {
        let open = |status: &proto::StatusReply| status.vault() == proto::VaultState::Open;
        self.daemon == Daemon::Up && self.status.as_ref().is_some_and(open)
    }
}
