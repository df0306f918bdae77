//! What was said, as entries, and the lines they take at the current width. Lines are kept and only made anew for an
//! entry that changed, or for all when the width or the marks did.

mod entry;
mod view;

pub(crate) use entry::{Entry, Rating, State, Who};
pub(crate) use view::View;

use crate::screen::text::Line;

/// All entries of the conversation on screen, laid out.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    entries: Vec<Entry>,
    /// Lines per entry; absent where they must be made.
    lines: Vec<Option<Vec<Line>>>,
    width: usize,
    marks: bool,
}

impl Transcript {
    /// A transcript of entries that still has to be laid out.
    pub(crate) fn new(entries: Vec<Entry>, width: usize, marks: bool) -> Self {
        let lines = entries.iter().map(|_| None).collect();
        let mut transcript = Self { entries, lines, width, marks };
        transcript.layout(width, marks);
        transcript
    }

    /// The entries, oldest first.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds an entry at the end and says where.
    pub(crate) fn push(&mut self, entry: Entry) -> usize {
        self.entries.push(entry);
        self.lines.push(None);
        self.entries.len() - 1
    }

    /// Adds an entry before the one at `index`.
    pub(crate) fn insert(&mut self, index: usize, entry: Entry) {
        let index = index.min(self.entries.len());
        self.entries.insert(index, entry);
        self.lines.insert(index, None);
    }

    /// Changes one entry.
    pub(crate) fn change(&mut self, index: usize, change: impl FnOnce(&mut Entry)) {
        if let (Some(entry), Some(lines)) = (self.entries.get_mut(index), self.lines.get_mut(index)) {
            change(entry);
            *lines = None;
        }
    }

    /// Takes one entry away.
    pub(crate) fn remove(&mut self, index: usize) -> Option<Entry> {
        (index < self.entries.len()).then(|| {
            self.lines.remove(index);
            self.entries.remove(index)
        })
    }

    /// Makes the lines that are missing.
    pub(crate) fn layout(&mut self, width: usize, marks: bool) {
        if (width, marks) != (self.width, self.marks) {
            (self.width, self.marks) = (width, marks);
            self.lines.iter_mut().for_each(|lines| *lines = None);
        }
        for (entry, lines) in self.entries.iter().zip(&mut self.lines) {
            if lines.is_none() {
                *lines = Some(entry.lines(width, marks));
            }
        }
    }

    /// Lines there are.
    pub(crate) fn height(&self) -> usize {
        self.lines.iter().flatten().map(Vec::len).sum()
    }

    /// Lines from `top` on.
    pub(crate) fn from(&self, top: usize) -> impl Iterator<Item = &Line> {
        self.lines.iter().flatten().flatten().skip(top)
    }

    /// The entry and the byte of its text that line `top` shows.
    pub(crate) fn place(&self, top: usize) -> Option<(usize, usize)> {
        let mut left = top;
        for (i, lines) in self.lines.iter().enumerate() {
            let lines = lines.as_deref().unwrap_or_default();
            match lines.get(left) {
                Some(line) => return Some((i, line.at)),
                None => left -= lines.len(),
            }
        }
        None
    }

    /// The line that shows a byte of an entry's text.
    pub(crate) fn find(&self, (entry, at): (usize, usize)) -> usize {
        let before: usize = self.lines.iter().take(entry).flatten().map(Vec::len).sum();
        let lines = self.lines.get(entry).and_then(Option::as_deref).unwrap_or_default();
        // The first line is the name; it stands for the place only when nothing else does.
        let within = lines.iter().rposition(|line| line.at <= at && !line.pieces.is_empty()).unwrap_or(0);
        let within = if at == 0 { 0 } else { within };
        before + within
    }
}
