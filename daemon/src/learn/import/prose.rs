//! Plain text and Markdown: the user's own words. Each paragraph is a conversation of one own turn: many chat templates
//! want turns to alternate, and a file that grows keeps its old paragraphs as they are.

use super::{Format, Import, Line, Role};

/// A longer paragraph is cut at a sentence or a space.
const PARAGRAPH_BYTES: usize = 800;

pub(super) fn read(format: Format, text: &str) -> Import {
    let paragraphs = paragraphs(format, text);
    let pieces = paragraphs.iter().flat_map(|paragraph| pieces(paragraph));
    let conversations =
        pieces.map(|piece| vec![Line { role: Role::User, content: piece.to_owned() }]).collect();
    Import { format, conversations, skipped: 0, skipped_why: String::new() }
}

/// Paragraphs with their lines joined; in Markdown, code fences keep their lines and marks without words go.
fn paragraphs(format: Format, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut current: Vec<&str> = Vec::new();
    let mut fence = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if format == Format::Markdown && trimmed.starts_with("```") {
            close(&mut current, fence, &mut out);
            fence = !fence;
        } else if trimmed.is_empty() && !fence {
            close(&mut current, fence, &mut out);
        } else if fence {
            current.push(line.trim_end());
        } else if format == Format::Markdown {
            let starts_block = trimmed.starts_with(['#', '-', '*', '>', '|']);
            if starts_block {
                close(&mut current, fence, &mut out);
            }
            current.push(without_marks(trimmed));
            if trimmed.starts_with('#') {
                close(&mut current, fence, &mut out);
            }
        } else {
            current.push(trimmed);
        }
    }
    close(&mut current, fence, &mut out);
    out
}

fn close(lines: &mut Vec<&str>, fence: bool, out: &mut Vec<String>) {
    let text = lines.join(if fence { "\n" } else { " " });
    lines.clear();
    if text.chars().any(char::is_alphanumeric) {
        out.push(text.trim().to_owned());
    }
}

/// Without heading, list and quote marks at the start.
fn without_marks(line: &str) -> &str {
    let stripped = line.trim_start_matches(['#', '>']).trim_start();
    match stripped.strip_prefix(['-', '*', '+']) {
        Some(rest) if rest.starts_with(' ') => rest.trim_start(),
        _ => stripped,
    }
}

/// Cuts a long paragraph behind the last sentence end, else the last space, else the last character that fits.
fn pieces(paragraph: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = paragraph.trim();
    while rest.len() > PARAGRAPH_BYTES {
        let limit = (0..=PARAGRAPH_BYTES).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(0);
        let (head, _) = rest.split_at(limit);
        let sentence = head.rfind(". ").map(|at| at + 1).filter(|at| *at > PARAGRAPH_BYTES / 2);
        let at = sentence.or_else(|| head.rfind(' ').filter(|at| *at > 0)).unwrap_or(limit);
        let (piece, tail) = rest.split_at(at);
        out.push(piece.trim());
        rest = tail.trim_start();
    }
    if !rest.is_empty() {
        out.push(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(format: Format, text: &str) -> Vec<String> {
        read(format, text).conversations.concat().into_iter().map(|l| l.content).collect()
    }

    #[test]
    fn paragraphs_become_own_turns() {
        assert_eq!(turns(Format::Text, "One\nline.\n\n\nTwo.\n---\n"), ["One line.", "Two. ---"]);
    }

    #[test]
    fn markdown_loses_marks_and_keeps_code() {
        let text = "# Title\nText\ngoes on\n- first\n- second\n\n```rust\nlet a = 1;\nlet b = 2;\n```\n\n***\n> quote";
        assert_eq!(
            turns(Format::Markdown, text),
            ["Title", "Text goes on", "first", "second", "let a = 1;\nlet b = 2;", "quote"]
        );
    }

    #[test]
    fn long_text_is_cut_without_loss() {
        let sentence = "Ünïcode wörds stay whole here. ";
        let text = sentence.repeat(100);
        let found = turns(Format::Text, &text);
        assert!(found.len() > 3 && found.iter().all(|p| p.len() <= PARAGRAPH_BYTES));
        assert_eq!(found.join(" "), text.trim());
        assert!(read(Format::Text, &text).conversations.iter().all(|c| c.len() == 1));
        assert_eq!(turns(Format::Text, &"é".repeat(1000)).concat(), "é".repeat(1000));
    }
}
