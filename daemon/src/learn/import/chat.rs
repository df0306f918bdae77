//! Chat JSON Lines: one object a line with `messages`, a list of `{"role", "content"}`. Other keys are ignored.

use super::{Format, Import, Line};
use serde::Deserialize;

#[derive(Deserialize)]
struct Row {
    messages: Vec<Line>,
}

pub(super) fn read(text: &str) -> Import {
    let mut import =
        Import { format: Format::Chat, conversations: Vec::new(), skipped: 0, skipped_why: String::new() };
    for (number, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        match conversation(line) {
            Ok(lines) => import.conversations.push(lines),
            Err(why) => {
                if import.skipped == 0 {
                    import.skipped_why = format!("line {}: {why}", number + 1);
                }
                import.skipped += 1;
            }
        }
    }
    import
}

/// One line. The reason of a refusal never quotes the line.
pub(super) fn conversation(line: &str) -> Result<Vec<Line>, String> {
    let row: Row = serde_json::from_str(line).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => {
            "no list `messages` of {\"role\": system|user|assistant, \"content\": text}".to_owned()
        }
        _ => format!("not JSON (column {})", e.column()),
    })?;
    let mut lines: Vec<Line> = row.messages;
    for line in &mut lines {
        line.content = line.content.trim().to_owned();
    }
    lines.retain(|l| !l.content.is_empty());
    if lines.is_empty() { Err("no message with text".into()) } else { Ok(lines) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::import::Role;

    #[test]
    fn keeps_the_good_lines_and_counts_the_others() {
        let text = concat!(
            r#"{"messages":[{"role":"user","content":" hi "},{"role":"assistant","content":"yes","x":1}],"id":3}"#,
            "\n\nnot json\n",
            r#"{"messages":[{"role":"robot","content":"a"}]}"#,
            "\n",
            r#"{"messages":[]}"#,
            "\n",
        );
        let import = read(text);
        assert_eq!(import.conversations.len(), 1);
        assert_eq!(import.conversations[0][0], Line { role: Role::User, content: "hi".into() });
        assert_eq!(import.skipped, 3);
        assert_eq!(import.skipped_why, "line 3: not JSON (column 2)");
    }

    #[test]
    fn a_reason_never_quotes_the_line() {
        let why = conversation(r#"{"messages": "a secret of mine"}"#).unwrap_err();
        assert!(!why.contains("secret"), "{why}");
    }
}
