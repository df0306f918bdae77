//! Public conversations by who had them: chat JSON Lines whose rows name a `user`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::kit::Message;

/// One conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Talk {
    /// What was said.
    pub lines: Vec<Message>,
    /// Measured against the person's other conversations; else only remembered.
    pub measured: bool,
}

/// Rows of a file, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Public {
    /// Conversations by person, those of people who have several and of which one is measured.
    pub people: BTreeMap<String, Vec<Talk>>,
    /// Rows left out because nobody can be told from them: no `user`, or the only conversation of one.
    pub alone: usize,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    user: Option<String>,
    messages: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    role: String,
    content: String,
}

/// Reads rows; the first `unseen` of them are measured.
///
/// # Errors
/// The number of a line that is no conversation, and why.
pub fn people(text: &str, unseen: usize) -> Result<Public, (usize, String)> {
    let mut people: BTreeMap<String, Vec<Talk>> = BTreeMap::new();
    let mut alone = 0;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    for (row, (number, line)) in lines.enumerate() {
        let Row { user, messages } =
            serde_json::from_str(line).map_err(|error| (number, error.to_string()))?;
        let lines = messages.iter().map(|m| Message::new(&m.role, m.content.trim())).collect();
        match user {
            Some(user) => people.entry(user).or_default().push(Talk { lines, measured: row < unseen }),
            None => alone += 1,
        }
    }
    people.retain(|_, talks| {
        let useful = talks.len() > 1 && talks.iter().any(|talk| talk.measured);
        alone += if talks.len() == 1 { 1 } else { 0 };
        useful
    });
    Ok(Public { people, alone })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_with_several_conversations_are_kept_and_bad_lines_are_named() {
        let row = |user: &str| {
            let messages = serde_json::json!([{ "role": "user", "content": " Hi! " }]);
            serde_json::json!({ "user": user, "messages": messages }).to_string()
        };
        let nobody = r#"{"messages":[]}"#.to_owned();
        let text = [row("a"), row("b"), nobody, row("c"), String::new(), row("c"), row("a")];
        let found = people(&text.join("\n"), 2).unwrap();
        assert_eq!(found.people.keys().collect::<Vec<_>>(), ["a"], "nothing of c is measured");
        let measured: Vec<bool> = found.people["a"].iter().map(|talk| talk.measured).collect();
        assert_eq!((measured, found.alone), (vec![true, false], 2));
        assert_eq!(found.people["a"][0].lines[0].content, "Hi!");
        let (line, why) = people(&format!("\n{}\n{{", row("a")), 9).unwrap_err();
        assert!(line == 3 && why.contains("EOF"), "{line} {why}");
    }
}
