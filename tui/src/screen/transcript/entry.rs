//! One entry: a question, an answer, or a note about what happened between them.

use aside_daemon_api::proto;

use crate::screen::markdown;
use crate::screen::provenance::{Ranges, Tally};
use crate::screen::text::{Cell, Line, Look, Mode, cells, label, wrap};
use crate::screen::theme::Meaning;

/// Whose words an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The person.
    Person,
    /// The model.
    Model,
    /// Aside itself, saying what happened.
    Note(Meaning),
}

/// How far an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A question that waits to be sent.
    Queued,
    /// An answer that is being written.
    Open,
    /// Complete.
    Done,
    /// An answer that ended early; why is in the word.
    Cut(&'static str),
}

/// A question, an answer or a note.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) who: Who,
    pub(crate) text: String,
    pub(crate) ranges: Ranges,
    pub(crate) state: State,
    pub(crate) tally: Tally,
    /// What the person thinks of an answer.
    pub(crate) rating: Rating,
}

/// What a person thinks of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rating {
    /// Nothing said.
    #[default]
    None,
    /// One to learn from.
    Good,
    /// None to learn from.
    Bad,
    /// Its words are the person's.
    Edited,
}

impl Rating {
    /// The word that travels.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Edited => "edited",
        }
    }

    fn of(word: &str) -> Self {
        [Self::Good, Self::Bad, Self::Edited].into_iter().find(|r| r.word() == word).unwrap_or_default()
    }
}

impl Entry {
    /// The person's words.
    pub(crate) fn person(text: String, state: State) -> Self {
        let (ranges, tally, rating) = Default::default();
        Self { who: Who::Person, text, ranges, state, tally, rating }
    }

    /// An answer without a word yet.
    pub(crate) fn answer() -> Self {
        let (text, ranges, tally, rating) = Default::default();
        Self { who: Who::Model, text, ranges, state: State::Open, tally, rating }
    }

    /// A note.
    pub(crate) fn note(meaning: Meaning, text: impl Into<String>) -> Self {
        let (ranges, tally, rating) = Default::default();
        Self { who: Who::Note(meaning), text: text.into(), ranges, state: State::Done, tally, rating }
    }

    /// A stored message.
    pub(crate) fn stored(message: proto::Message) -> Self {
        if message.role == "user" {
            return Self::person(message.text, State::Done);
        }
        let ranges = Ranges::from_spans(&message.spans, message.text.len());
        let tally = message.done.as_ref().map(Tally::of).unwrap_or_default();
        let state = if message.interrupted { State::Cut("stopped") } else { State::Done };
        let rating = Rating::of(&message.rating);
        Self { who: Who::Model, text: message.text, ranges, state, tally, rating }
    }

    /// Its lines: name, text, a blank one.
    pub(super) fn lines(&self, width: usize, marks: bool) -> Vec<Line> {
        let mut lines = match self.who {
            Who::Note(meaning) => return self.note_lines(meaning, width),
            Who::Person => self.named("You", Meaning::Person, width),
            Who::Model => self.named("Aside", Meaning::Speaker, width),
        };
        let indent = label(if width >= 24 { "  " } else { "" }, Meaning::Base);
        let room = width.saturating_sub(indent.len()).max(1);
        let body = match self.who {
            Who::Model => markdown::render(&self.text, &self.ranges, room, marks),
            _ => self.plain(room),
        };
        lines.extend(body.into_iter().map(|line| indented(&indent, line)));
        lines.push(Line { pieces: Vec::new(), at: self.text.len() });
        lines
    }

    fn named(&self, name: &str, meaning: Meaning, width: usize) -> Vec<Line> {
        let mut head = label(name, meaning);
        head.extend(label(self.remark(), Meaning::Quiet));
        wrap(&head, width, &[], &[], Mode::Word)
    }

    fn remark(&self) -> &'static str {
        match self.rating {
            Rating::None => {}
            Rating::Good => return " (good)",
            Rating::Bad => return " (bad)",
            Rating::Edited => return " (edited by you)",
        }
        match self.state {
            State::Queued => " (waits to be sent)",
            State::Open if self.text.is_empty() => " ...",
            State::Open | State::Done => "",
            State::Cut(why) => match why {
                "length" => " (cut at the length limit)",
                "context" => " (cut: the context is full)",
                "failed" => " (broke off)",
                _ => " (stopped)",
            },
        }
    }

    /// The person's words keep their lines as they were typed.
    fn plain(&self, width: usize) -> Vec<Line> {
        let mut at = 0;
        let mut lines = Vec::new();
        for line in self.text.split('\n') {
            let cells = cells(line, at, Look::default(), &Ranges::default(), false);
            lines.append(&mut wrap(&cells, width, &[], &[], Mode::Word));
            at += line.len() + 1;
        }
        lines
    }

    fn note_lines(&self, meaning: Meaning, width: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        let (first, rest) = (label("-- ", Meaning::Quiet), label("   ", Meaning::Quiet));
        for (i, line) in self.text.split('\n').enumerate() {
            let cells = label(line, meaning);
            let first = if i == 0 { &first } else { &rest };
            lines.append(&mut wrap(&cells, width, first, &rest, Mode::Word));
        }
        lines.push(Line::default());
        lines
    }
}

fn indented(indent: &[Cell], line: Line) -> Line {
    let at = line.at;
    let mut out = Line::join(indent, &[], at);
    out.pieces.extend(line.pieces);
    out
}
