//! What the daemon says about itself: starting, status, vault, learning.

use aside_daemon_api::proto;
use aside_daemon_api::proto::learn_event::Event as Learn;

use super::{App, Card};
use crate::screen::event::{Effect, Event, Problem};
use crate::screen::theme::Meaning;
use crate::screen::transcript::Entry;

/// Whether there is a daemon to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Daemon {
    /// Not yet.
    Starting,
    /// Yes.
    Up,
    /// No longer; it is being sought.
    Away(String),
}

impl App {
    pub(super) fn news(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Connected => {
                if matches!(self.daemon, Daemon::Away(_)) {
                    self.problem = None;
                }
                self.daemon = Daemon::Up;
            }
            Event::Lost(problem) => return self.lost(problem),
            Event::Status(status) => return self.status(status),
            Event::Made(note) => return self.made(&note),
            Event::NotMade(problem) | Event::NotUnlocked(problem) => self.card_failed(&problem),
            Event::Unlocked => return self.opened_vault(),
            Event::Keyring(there) => self.keyring(there),
            Event::Learn(event) => self.learn(event),
            Event::Switched(head) => self.switched(&head),
            Event::LearnFailed(problem) => {
                self.learning = None;
                self.problem = Some(problem);
            }
            _ => {}
        }
        Vec::new()
    }

    fn lost(&mut self, problem: Problem) -> Vec<Effect> {
        self.daemon = Daemon::Away(problem.message.clone());
        self.learning = None;
        self.problem = Some(problem.clone());
        let turn = self.turn.as_ref().map(|turn| turn.number);
        turn.map(|turn| self.answer_failed(turn, problem)).unwrap_or_default()
    }

    fn status(&mut self, status: proto::StatusReply) -> Vec<Effect> {
        self.daemon = Daemon::Up;
        let vault = status.vault();
        let news = self.status.as_ref().map(standing) != Some(standing(&status));
        let detail = status.vault_detail.clone();
        self.status = Some(status);
        if !news {
            return Vec::new();
        }
        match vault {
            proto::VaultState::Open => self.opened_vault(),
            proto::VaultState::Absent => {
                self.card = Some(Card::setup(self.now));
                vec![Effect::ProbeKeyring]
            }
            // Keyring and key file are still being tried.
            proto::VaultState::Locked if detail.is_empty() => Vec::new(),
            proto::VaultState::Locked => {
                self.card = Some(Card::unlock());
                Vec::new()
            }
            proto::VaultState::Damaged => {
                let message = format!("The vault cannot be read: {detail}");
                self.problem =
                    Some(Problem { code: "damaged".to_owned(), message, repair: "aside doctor".to_owned() });
                Vec::new()
            }
        }
    }

    fn made(&mut self, note: &str) -> Vec<Effect> {
        self.note(Meaning::Quiet, note);
        self.opened_vault()
    }

    /// The vault is open, whoever said so first.
    fn opened_vault(&mut self) -> Vec<Effect> {
        self.card = None;
        if let Some(status) = &mut self.status {
            status.set_vault(proto::VaultState::Open);
        }
        self.restore().into_iter().collect()
    }

    fn learn(&mut self, event: Learn) {
        match event {
            Learn::Progress(progress) => self.learning = Some(progress),
            Learn::Imported(_) | Learn::Forgotten(_) => {}
            Learn::Done(done) => {
                self.learning = None;
                self.note(Meaning::Good, learned(&done));
            }
        }
    }

    /// A note behind what was said, before what waits to be sent.
    pub(super) fn note(&mut self, meaning: Meaning, text: impl Into<String>) {
        let text = text.into();
        if !text.is_empty() {
            let end = self.first_queued().unwrap_or(self.transcript.entries().len());
            self.transcript.insert(end, Entry::note(meaning, text));
        }
    }
}

/// What a new card depends on: the vault's state, and whether there is something to say of it.
fn standing(status: &proto::StatusReply) -> (proto::VaultState, bool) {
    (status.vault(), status.vault_detail.is_empty())
}

fn learned(done: &proto::LearnDone) -> String {
    match &done.adapter {
        Some(adapter) if done.trained => {
            let numbers = adapter.held_out.map(|e| {
                format!(
                    "; held-out NLL {:.3} base, {:.3} gated, open {:.0}%",
                    e.nll_base,
                    e.nll_gated,
                    100.0 * e.open_rate
                )
            });
            let numbers = numbers.unwrap_or_default();
            let place = if done.promoted { String::new() } else { format!("; not used: {}", done.why) };
            format!(
                "Learned: adapter {} from {} tokens{numbers}{place}",
                adapter.version, adapter.lesson_tokens
            )
        }
        _ => format!("Nothing new was learned: {}", done.why),
    }
}
