//! A grapheme with its width, its look, its source and its place in the source text; and the drawn line made of them.

use std::ops::Range;

use ratatui::buffer::CellWidth as _;
use unicode_segmentation::UnicodeSegmentation as _;

use super::safe::visible;
use crate::screen::provenance::{Mark, Ranges};
use crate::screen::theme::Meaning;

/// Stops of a tab, in columns.
const TAB: usize = 4;
/// The sign before a changed token.
pub(crate) const SIGN: &str = "^";

/// How inline markdown changes a grapheme.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) bold: bool,
    pub(crate) italic: bool,
    pub(crate) struck: bool,
    pub(crate) meaning: Option<Meaning>,
}

impl Look {
    /// A look that is only a meaning.
    pub(crate) fn of(meaning: Meaning) -> Self {
        Self { meaning: Some(meaning), ..Self::default() }
    }
}

/// One grapheme to draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) width: usize,
    pub(crate) look: Look,
    pub(crate) mark: Mark,
    /// Its first byte in the source text.
    pub(crate) at: usize,
    /// Drawn, but not a part of the text: the sign before a changed token.
    pub(crate) sign: bool,
}

impl Cell {
    /// White space that a line may end at.
    pub(crate) fn is_space(&self) -> bool {
        self.text == " "
    }
}

/// Graphemes of `text`, whose first byte is `at` in the source that `ranges` partition. One line: no line breaks.
pub(crate) fn cells(text: &str, at: usize, look: Look, ranges: &Ranges, signs: bool) -> Vec<Cell> {
    let mut out = Vec::with_capacity(text.len());
    let mut column = 0;
    let mut signed = None;
    for (offset, grapheme) in text.grapheme_indices(true) {
        let place = at + offset;
        let (mark, part) = ranges.at(place..place + grapheme.len());
        if signs && mark == Mark::Changed && signed != Some(part) && !grapheme.trim().is_empty() {
            signed = Some(part);
            column += push(&mut out, SIGN, place..place, look, mark, column);
            if let Some(last) = out.last_mut() {
                last.sign = true;
            }
        }
        column += push(&mut out, grapheme, place..place, look, mark, column);
    }
    out
}

/// Text that is not the model's: bullets, names, hints.
pub(crate) fn label(text: &str, meaning: Meaning) -> Vec<Cell> {
    cells(text, 0, Look::of(meaning), &Ranges::default(), false)
}

fn push(
    out: &mut Vec<Cell>,
    grapheme: &str,
    at: Range<usize>,
    look: Look,
    mark: Mark,
    column: usize,
) -> usize {
    let cell = |text: String, width| Cell { text, width, look, mark, at: at.start, sign: false };
    if grapheme == "\t" {
        let columns = TAB - column % TAB;
        out.extend(std::iter::repeat_n(cell(" ".to_owned(), 1), columns));
        return columns;
    }
    let Some(drawn) = visible(grapheme) else { return 0 };
    let width = usize::from(drawn.cell_width());
    out.push(cell(drawn.into_owned(), width));
    width
}

/// Neighbouring graphemes of one look and mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) look: Look,
    pub(crate) mark: Mark,
}

/// One drawn line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) pieces: Vec<Piece>,
    /// First byte of the source text shown here.
    pub(crate) at: usize,
}

impl Line {
    /// Joins graphemes. A space where the source changes hands is drawn plain, so that words are underlined, not gaps.
    pub(crate) fn join(prefix: &[Cell], body: &[Cell], at: usize) -> Self {
        let mut line = Self { pieces: Vec::new(), at };
        let mut before = Mark::None;
        for cell in prefix.iter().chain(body) {
            let gap = cell.is_space() && before < Mark::Side;
            let mark = if gap { cell.mark.min(Mark::Base) } else { cell.mark };
            before = mark;
            match line.pieces.last_mut() {
                Some(piece) if piece.look == cell.look && piece.mark == mark => {
                    piece.text.push_str(&cell.text)
                }
                _ => line.pieces.push(Piece { text: cell.text.clone(), look: cell.look, mark }),
            }
        }
        line
    }

    /// The text of the line.
    pub(crate) fn text(&self) -> String {
        self.pieces.iter().map(|piece| piece.text.as_str()).collect()
    }

    /// Columns it takes.
    #[cfg(test)]
    pub(crate) fn width(&self) -> usize {
        super::safe::width(&self.text())
    }
}
