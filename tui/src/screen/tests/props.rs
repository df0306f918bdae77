//! Properties: no line is wider than the pane, wrapping loses nothing but spaces at breaks, ranges partition the text.

use aside_daemon_api::proto;
use proptest::prelude::*;

use crate::screen::markdown;
use crate::screen::provenance::{Mark, Ranges};
use crate::screen::text::{Cell, Look, Mode, cells, wrap};

/// Text with everything that is hard: wide characters, joined emoji, combining marks, controls, tabs, markup.
fn hard_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z]{1,12}",
        2 => Just(" ".to_owned()),
        1 => Just("\t".to_owned()),
        1 => Just("漢字".to_owned()),
        1 => Just("👩‍👩‍👧".to_owned()),
        1 => Just("e\u{301}".to_owned()),
        1 => Just("\u{1b}[2J".to_owned()),
        1 => Just("\u{202e}x".to_owned()),
        1 => Just("ﾞ".to_owned()),
        1 => Just("**".to_owned()),
        1 => Just("`".to_owned()),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Markdown-like texts of several lines.
fn hard_markdown() -> impl Strategy<Value = String> {
    let start = prop_oneof![
        Just(""),
        Just("# "),
        Just("- "),
        Just("1. "),
        Just("> "),
        Just("  - "),
        Just("```\n"),
        Just("| a | b |\n|--|--|\n| "),
        Just("---\n"),
        Just("\n"),
        Just("&amp; "),
        Just("[x](y) ")
    ];
    prop::collection::vec((start, hard_text()), 0..8)
        .prop_map(|lines| lines.iter().map(|(start, text)| format!("{start}{text}\n")).collect())
}

/// Marks for consecutive tokens of a text.
fn marked(text: &str, cuts: &[(usize, u8)]) -> Ranges {
    let mut ranges = Ranges::default();
    for (bytes, mark) in cuts {
        let mark = match mark % 3 {
            0 => Mark::Base,
            1 => Mark::Side,
            _ => Mark::Changed,
        };
        ranges.push((*bytes).min(text.len() - ranges.len()), mark);
    }
    ranges.fit(text.len());
    ranges
}

fn bare(text: impl AsRef<str>) -> String {
    text.as_ref().split_whitespace().collect()
}

proptest! {
    #[test]
    fn no_line_is_wider_than_the_pane(
        text in hard_markdown(), width in 1_usize..90, cuts in prop::collection::vec((0_usize..9, 0_u8..3), 0..40), signs: bool,
    ) {
        let ranges = marked(&text, &cuts);
        for line in markdown::render(&text, &ranges, width, signs) {
            prop_assert!(line.width() <= width, "{} > {width}: {:?}", line.width(), line.text());
            prop_assert!(!line.text().contains(char::is_control));
        }
    }

    #[test]
    fn wrapping_keeps_the_text(text in hard_text(), width in 2_usize..60, hard: bool) {
        let text = text.replace('\n', " ");
        let cells = cells(&text, 0, Look::default(), &Ranges::default(), false);
        let mode = if hard { Mode::Hard } else { Mode::Word };
        let lines = wrap(&cells, width, &[], &[], mode);
        let shown = |cell: &Cell| if cell.width > width { "\u{fffd}".to_owned() } else { cell.text.clone() };
        let before: String = cells.iter().map(shown).collect();
        let after: String = lines.iter().map(|line| line.text()).collect();
        prop_assert_eq!(bare(before), bare(after));
    }

    #[test]
    fn marks_follow_their_bytes(text in "[a-z ]{0,80}", width in 4_usize..40, cuts in prop::collection::vec((1_usize..7, 0_u8..3), 0..30)) {
        let ranges = marked(&text, &cuts);
        let cells = cells(&text, 0, Look::default(), &ranges, false);
        for cell in &cells {
            prop_assert_eq!(cell.mark, ranges.at(cell.at..cell.at + 1).0);
        }
        for line in wrap(&cells, width, &[], &[], Mode::Word) {
            // Pieces are in order, so each letter can be found again in the text.
            let mut at = line.at;
            for piece in &line.pieces {
                for letter in piece.text.chars() {
                    let bytes = at..at + 1;
                    prop_assert_eq!(&text[bytes.clone()], letter.to_string());
                    if letter != ' ' {
                        prop_assert_eq!(piece.mark, ranges.at(bytes).0);
                    }
                    at += 1;
                }
            }
        }
    }

    #[test]
    fn stored_spans_become_a_partition(
        len in 0_usize..200, spans in prop::collection::vec((0_u32..250, 0_u32..250, 0_i32..2, any::<bool>()), 0..20),
    ) {
        let span = |(start, end, source, changed)| proto::Span { start, end, source, changed, p: None };
        let spans: Vec<_> = spans.into_iter().map(span).collect();
        let ranges = Ranges::from_spans(&spans, len);
        let mut end = 0;
        for (range, mark) in ranges.parts() {
            prop_assert_eq!(range.start, end);
            prop_assert!(range.end > range.start);
            prop_assert_ne!(*mark, Mark::None);
            end = range.end;
        }
        prop_assert_eq!(end, len);
    }

    #[test]
    fn plain_markdown_keeps_its_words(words in prop::collection::vec("[a-z]{1,14}", 1..40), width in 4_usize..60) {
        let text = words.join(" ");
        let shown: String = markdown::render(&text, &Ranges::default(), width, false).iter().map(|l| l.text()).collect();
        prop_assert_eq!(bare(shown), bare(text));
    }
}
