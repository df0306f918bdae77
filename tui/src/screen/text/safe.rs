//! Nothing that a model, a file or a clipboard says reaches the terminal as a command: control characters and
//! bidirectional overrides become visible signs. Also widths, as ratatui counts them.

use std::borrow::Cow;

use ratatui::buffer::CellWidth as _;
use unicode_segmentation::UnicodeSegmentation as _;

/// Columns a text takes when drawn.
pub(crate) fn width(text: &str) -> usize {
    text.graphemes(true).map(|g| visible(g).map_or(0, |g| usize::from(g.cell_width()))).sum()
}

/// What to draw for a grapheme, or nothing when it takes no column of its own.
pub(crate) fn visible(grapheme: &str) -> Option<Cow<'_, str>> {
    if let Some(bad) = grapheme.chars().find(|c| is_unsafe(*c)) {
        return Some(Cow::Owned(sign(bad).to_string()));
    }
    (grapheme.cell_width() > 0).then_some(Cow::Borrowed(grapheme))
}

/// Text for an editor or a terminal title: line breaks kept, tabs kept, the rest of the controls gone.
pub(crate) fn clean(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !is_unsafe(*c)).collect()
}

/// One harmless line of a text that may hold anything.
pub(crate) fn one_line(text: &str) -> String {
    clean(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A line cut to a width, with "..." where something is missing.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let dots = ".".repeat(columns.min(3));
    let mut left = columns.saturating_sub(3);
    let mut cut = String::new();
    for grapheme in text.graphemes(true) {
        let Some(rest) = left.checked_sub(width(grapheme)) else { break };
        left = rest;
        cut.push_str(grapheme);
    }
    cut + &dots
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
}

/// The control picture of a C0 character, the replacement character for the rest.
fn sign(c: char) -> char {
    match u32::from(c) {
        code @ 0..=0x1f => char::from_u32(0x2400 + code).unwrap_or('\u{fffd}'),
        0x7f => '\u{2421}',
        _ => '\u{fffd}',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_signs() {
        assert_eq!(visible("\u{1b}").unwrap(), "␛");
        assert_eq!(visible("\u{9b}").unwrap(), "\u{fffd}");
        assert_eq!(visible("\u{202e}").unwrap(), "\u{fffd}");
        assert_eq!(visible("\u{200b}"), None);
        assert_eq!(visible("👩‍👩‍👧").unwrap(), "👩‍👩‍👧");
    }

    #[test]
    fn clean_keeps_lines_and_tabs() {
        assert_eq!(clean("a\r\nb\tc\u{1b}[31md\r\u{7}e"), "a\nb\tc[31md\ne");
    }

    #[test]
    fn fit_counts_columns() {
        assert_eq!(fit("日本語のテキスト", 9), "日本語...");
        assert_eq!(fit("short", 5), "short");
        assert_eq!(fit("longer", 2), "..");
    }
}
