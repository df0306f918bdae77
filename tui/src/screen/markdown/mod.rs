//! Markdown to lines, with the source of every byte kept: pulldown-cmark gives the range of each event in the text,
//! and each grapheme remembers its place in it. Pure; a whole message is laid out anew when it grows.

mod build;
mod table;

use crate::screen::provenance::Ranges;
use crate::screen::text::{Cell, Line, Mode, wrap};
use table::Table;

/// A block that is ready to be wrapped to any width.
#[derive(Debug)]
enum Block {
    Text { first: Vec<Cell>, rest: Vec<Cell>, cells: Vec<Cell>, mode: Mode },
    Rule { prefix: Vec<Cell>, at: usize },
    Table { prefix: Vec<Cell>, table: Table },
}

/// Lines of a markdown text, none wider than `width`. With `signs`, changed tokens carry their sign.
pub(crate) fn render(source: &str, ranges: &Ranges, width: usize, signs: bool) -> Vec<Line> {
    let blocks = build::blocks(source, ranges, signs);
    blocks.iter().flat_map(|block| block.lines(width)).collect()
}

impl Block {
    fn lines(&self, width: usize) -> Vec<Line> {
        match self {
            Self::Text { first, rest, cells, mode } => wrap(cells, width, first, rest, *mode),
            Self::Rule { prefix, at } => {
                let length = width.saturating_sub(prefix.len()).clamp(1, 24);
                let rule =
                    crate::screen::text::label(&"─".repeat(length), crate::screen::theme::Meaning::Quiet);
                let mut lines = wrap(&rule, width, prefix, prefix, Mode::Hard);
                lines.iter_mut().for_each(|line| line.at = *at);
                lines
            }
            Self::Table { prefix, table } => table.lines(prefix, width),
        }
    }
}
