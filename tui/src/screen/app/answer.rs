//! One turn: a question goes out when all is ready, its answer comes in token by token.

use std::time::Duration;

use aside_daemon_api::proto;
use aside_daemon_api::proto::ask_event::Event as Answer;

use super::App;
use crate::screen::event::{Effect, Problem};
use crate::screen::provenance::{Mark, Tally};
use crate::screen::theme::Meaning;
use crate::screen::transcript::{Entry, State, View, Who};

/// Time before a question that was refused as "busy" is asked again.
const AGAIN: Duration = Duration::from_millis(300);

/// The answer being written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Turn {
    pub(crate) number: u64,
    /// Its entry in the transcript; the question is the one before it.
    pub(crate) entry: usize,
    /// The daemon has stored the question.
    pub(crate) started: bool,
    first_token: Option<Duration>,
    /// The cloud is away at this moment; the entry of the note that says so.
    away: Option<usize>,
    /// The answer that this one replaces; it comes back when the new one says nothing.
    replaced: Option<Entry>,
    /// It was stopped before the daemon told which conversation it is in; without that the next question would begin
    /// another one.
    pub(super) stopping: bool,
}

impl App {
    /// Sends the oldest question that waits, if all is ready.
    pub(super) fn pump(&mut self, effects: &mut Vec<Effect>) {
        let Some(question) = self.first_queued() else { return };
        if !self.ready() || self.now < self.retry {
            return;
        }
        self.transcript.change(question, |entry| entry.state = State::Done);
        let text =
            self.transcript.entries().get(question).map(|entry| entry.text.clone()).unwrap_or_default();
        effects.push(self.ask(question + 1, text, None));
    }

    /// Asks; the answer's entry is made at `entry`.
    fn ask(&mut self, entry: usize, text: String, replaced: Option<Entry>) -> Effect {
        self.asked += 1;
        // What is kept nowhere cannot be answered again by its number: it is asked anew.
        let regenerate = replaced.is_some() && !self.private;
        let history = if self.private { self.said_before(entry) } else { Vec::new() };
        self.transcript.insert(entry, Entry::answer());
        self.turn = Some(Turn {
            number: self.asked,
            entry,
            started: false,
            first_token: None,
            away: None,
            replaced,
            stopping: false,
        });
        let (conversation, private, variant) = (self.conversation, self.private, self.variant.clone());
        let request = proto::AskRequest {
            conversation,
            text,
            private,
            variant,
            history,
            regenerate,
            ..Default::default()
        };
        Effect::Ask(self.asked, request)
    }

    /// What the person said last before the entry `end`; a note may stand between.
    fn question_before(&self, end: usize) -> Option<String> {
        let before = self.transcript.entries().get(..end)?;
        before.iter().rfind(|entry| entry.who == Who::Person).map(|entry| entry.text.clone())
    }

    /// What was said before the question that the entry `end` answers, for a daemon that keeps none of it.
    fn said_before(&self, end: usize) -> Vec<proto::PlainMessage> {
        let said = |entry: &Entry| {
            let role = match entry.who {
                Who::Person => "user",
                Who::Model => "assistant",
                Who::Note(_) => return None,
            };
            let message = proto::PlainMessage { role: role.to_owned(), content: entry.text.clone() };
            (!entry.text.is_empty()).then_some(message)
        };
        let before = self.transcript.entries().get(..end).unwrap_or(&[]);
        let question = before.iter().rposition(|entry| entry.who == Who::Person).unwrap_or(0);
        before.iter().take(question).filter_map(said).collect()
    }

    /// Answers the last question again.
    pub(super) fn again(&mut self) -> Vec<Effect> {
        let last = self.transcript.entries().iter().rposition(|entry| entry.who == Who::Model);
        match last {
            Some(last)
                if self.ready()
                    && self.first_queued().is_none()
                    && (self.private || self.conversation != 0) =>
            {
                let replaced = self.transcript.remove(last);
                self.view = View::Follow;
                let text = self.question_before(last).filter(|_| self.private);
                vec![self.ask(last, text.unwrap_or_default(), replaced)]
            }
            _ => Vec::new(),
        }
    }

    /// Whether a question would be answered now. A cloud that refuses us is ready too: its answer is the error.
    pub(crate) fn ready(&self) -> bool {
        let link = self.status.as_ref().map(proto::StatusReply::link);
        let link = matches!(link, Some(proto::LinkState::Up | proto::LinkState::Refused));
        self.vault_open() && self.turn.is_none() && link
    }

    /// The first question that waits to be sent.
    pub(super) fn first_queued(&self) -> Option<usize> {
        self.transcript.entries().iter().position(|entry| entry.state == State::Queued)
    }

    /// Takes what waits back into the composer, before what is typed there.
    pub(super) fn unqueue(&mut self) {
        let mut texts = Vec::new();
        while let Some(index) = self.first_queued() {
            texts.extend(self.transcript.entries().get(index).map(|entry| entry.text.clone()));
            self.transcript.remove(index);
        }
        self.take_back(texts);
    }

    fn take_back(&mut self, mut texts: Vec<String>) {
        if !texts.is_empty() {
            texts.extend(Some(self.composer.text()).filter(|text| !text.is_empty()));
            self.composer.set(&texts.join("\n"));
            self.typed();
        }
    }

    /// Stops the answer being written; what was said so far stays.
    pub(super) fn stop(&mut self) -> Vec<Effect> {
        self.unqueue();
        let Some(turn) = &mut self.turn else { return Vec::new() };
        self.transcript.change(turn.entry, |entry| entry.state = State::Cut("stopped"));
        if !turn.started {
            turn.stopping = true;
            return Vec::new();
        }
        let number = turn.number;
        self.end_turn();
        vec![Effect::Cancel(number)]
    }

    /// The answer is over. One that said nothing gives back the one that it was to replace.
    fn end_turn(&mut self) {
        let Some(Turn { entry, replaced, .. }) = self.turn.take() else { return };
        let silent = self.transcript.entries().get(entry).is_some_and(|answer| answer.text.is_empty());
        if let Some(old) = replaced.filter(|_| silent) {
            self.transcript.remove(entry);
            self.transcript.insert(entry, old);
        }
    }

    pub(super) fn answer(&mut self, number: u64, event: Answer) -> Vec<Effect> {
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.number == number) else { return Vec::new() };
        match event {
            Answer::Started(started) => {
                turn.started = true;
                self.answered_by = started.variant;
                self.last = Some(Tally::default());
                let stopping = turn.stopping;
                let mut effects = self.moved_to(started.conversation);
                if stopping {
                    effects.extend(self.stop());
                }
                return effects;
            }
            Answer::Token(token) => self.token(&token),
            Answer::Notice(notice) => self.notice(&notice),
            Answer::Done(done) => self.done(&done),
        }
        Vec::new()
    }

    fn token(&mut self, token: &proto::AskToken) {
        let Some(turn) = &mut self.turn else { return };
        let began = *turn.first_token.get_or_insert(self.now);
        let seconds = self.now.saturating_sub(began).as_secs_f64();
        let mark = Mark::of(token.source(), token.changed);
        let mut tally = Tally::default();
        self.transcript.change(turn.entry, |entry| {
            entry.text.push_str(&token.text);
            entry.ranges.push(token.text.len(), mark);
            entry.tally.add(mark);
            entry.tally.seconds = seconds;
            tally = entry.tally;
        });
        self.last = Some(tally);
        self.unseen = true;
    }

    /// The daemon's own text and counts stand.
    fn done(&mut self, done: &proto::AskDone) {
        let Some(turn) = &self.turn else { return };
        let state = match done.reason.as_str() {
            "length" => State::Cut("length"),
            "context" => State::Cut("context"),
            "cancelled" => State::Cut("stopped"),
            _ => State::Done,
        };
        self.transcript.change(turn.entry, |entry| {
            entry.text.clone_from(&done.text);
            entry.ranges.fit(done.text.len());
            entry.tally = Tally::of(done);
            entry.state = state;
        });
        self.last = Some(Tally::of(done));
        self.ended = Some(self.now);
        self.end_turn();
    }

    fn notice(&mut self, notice: &proto::AskNotice) {
        let Some(turn) = &mut self.turn else { return };
        match (notice.code.as_str(), turn.away) {
            // The mark stands where the cut is felt: before the answer that no longer sees what is above.
            ("context-cut", _) => {
                let note = Entry::note(Meaning::Warn, notice.message.clone());
                self.transcript.insert(turn.entry, note);
                turn.entry += 1;
                turn.away = turn.away.map(|away| away + 1);
            }
            ("cloud-away", None) => {
                let note = Entry::note(Meaning::Warn, notice.message.clone());
                turn.away = Some(turn.entry + 1);
                self.transcript.insert(turn.entry + 1, note);
            }
            (_, Some(away)) => {
                let back = notice.code == "cloud-back";
                self.transcript.change(away, |entry| {
                    entry.text.clone_from(&notice.message);
                    entry.who = Who::Note(if back { Meaning::Quiet } else { Meaning::Warn });
                });
                turn.away = if back { None } else { Some(away) };
            }
            (_, None) => self.note(Meaning::Quiet, notice.message.clone()),
        }
    }

    /// The answer broke off. A question that the daemon never stored goes back to the composer.
    pub(super) fn answer_failed(&mut self, number: u64, problem: Problem) -> Vec<Effect> {
        let Some(turn) = self.turn.as_ref().filter(|turn| turn.number == number) else { return Vec::new() };
        if turn.started {
            self.transcript.change(turn.entry, |entry| entry.state = State::Cut("failed"));
            self.end_turn();
        } else {
            let Some(turn) = self.turn.take() else { return Vec::new() };
            self.transcript.remove(turn.entry);
            if let Some(old) = turn.replaced {
                self.transcript.insert(turn.entry, old);
                self.problem = Some(problem);
                return Vec::new();
            }
            let question = turn.entry.saturating_sub(1);
            if problem.code == "busy" {
                self.retry = self.now + AGAIN;
                self.transcript.change(question, |entry| entry.state = State::Queued);
                return Vec::new();
            }
            self.transcript.change(question, |entry| entry.state = State::Queued);
        }
        self.unqueue();
        self.problem = Some(problem);
        Vec::new()
    }
}
