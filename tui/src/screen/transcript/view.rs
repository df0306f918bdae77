//! Which part of the transcript is on screen: it follows the end until a person scrolls up, and keeps its place
//! through new text, a new width and hidden marks.

use super::Transcript;

/// Where the first visible line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum View {
    /// The end stays in sight.
    #[default]
    Follow,
    /// A line that stays at the top.
    At(usize),
}

impl View {
    /// First visible line of `total` in a pane of `height` lines.
    pub(crate) fn top(self, total: usize, height: usize) -> usize {
        let last = total.saturating_sub(height);
        match self {
            Self::Follow => last,
            Self::At(top) => top.min(last),
        }
    }

    /// Moves by lines, up when negative; reaching the end follows it again.
    pub(crate) fn scroll(self, by: isize, total: usize, height: usize) -> Self {
        let top = self.top(total, height).saturating_add_signed(by);
        if top + height >= total { Self::Follow } else { Self::At(top) }
    }

    /// Lines hidden below.
    pub(crate) fn below(self, total: usize, height: usize) -> usize {
        total.saturating_sub(self.top(total, height) + height)
    }

    /// Lays the transcript out anew and keeps what was at the top there.
    pub(crate) fn relayout(self, transcript: &mut Transcript, width: usize, marks: bool) -> Self {
        let place = match self {
            Self::Follow => None,
            Self::At(top) => transcript.place(top),
        };
        transcript.layout(width, marks);
        place.map_or(self, |place| Self::At(transcript.find(place)))
    }
}
