//! Text on its way to the screen: made harmless, cut into graphemes with widths and marks, wrapped.

mod cell;
mod safe;
mod wrap;

pub(crate) use cell::{Cell, Line, Look, cells, label};
pub(crate) use safe::{clean, fit, one_line, width};
pub(crate) use wrap::{Mode, wrap};

use crate::screen::provenance::Ranges;

/// Plain text wrapped to a width: one string a line. For cards, hints and errors.
pub(crate) fn plain(text: &str, width: usize) -> Vec<String> {
    let wrapped = text.split('\n').flat_map(|line| {
        let cells = cells(line, 0, Look::default(), &Ranges::default(), false);
        wrap(&cells, width, &[], &[], Mode::Word)
    });
    wrapped.map(|line| line.text()).collect()
}
