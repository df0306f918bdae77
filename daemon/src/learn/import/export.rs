//! Exports of other chats, one JSON array of conversations: ChatGPT's is a tree of messages of which the branch that was
//! last in sight counts, Claude's a list.

use super::{Format, Import, Line, Role};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// A conversation of ChatGPT.
#[derive(Deserialize)]
struct Tree {
    mapping: HashMap<String, Node>,
    current_node: Option<String>,
}

#[derive(Deserialize)]
struct Node {
    message: Option<Message>,
    parent: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    author: Author,
    content: Content,
}

#[derive(Deserialize)]
struct Author {
    role: String,
}

#[derive(Deserialize)]
struct Content {
    /// Pieces of text; pictures and files are objects.
    #[serde(default)]
    parts: Vec<Value>,
}

/// A conversation of Claude.
#[derive(Deserialize)]
struct List {
    chat_messages: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    sender: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    content: Vec<Piece>,
}

#[derive(Deserialize)]
struct Piece {
    #[serde(default)]
    text: String,
}

/// The conversations of an export; `None` when it is none.
pub(super) fn read(text: &str) -> Option<Import> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    let items: Vec<Value> = serde_json::from_str(text).ok()?;
    let format = items.iter().find_map(format_of)?;
    let mut import = Import { format, conversations: Vec::new(), skipped: 0, skipped_why: String::new() };
    for (number, item) in (1..).zip(items) {
        match conversation(format, item) {
            Ok(lines) if lines.is_empty() => {}
            Ok(lines) => import.conversations.push(lines),
            Err(why) => {
                if import.skipped == 0 {
                    import.skipped_why = format!("conversation {number} is damaged ({why})");
                }
                import.skipped += 1;
            }
        }
    }
    Some(import)
}

fn format_of(item: &Value) -> Option<Format> {
    if item.get("mapping").is_some() {
        return Some(Format::ChatGpt);
    }
    item.get("chat_messages").map(|_| Format::Claude)
}

/// Why one is damaged never quotes it: only the kind of the mistake is told.
fn conversation(format: Format, item: Value) -> Result<Vec<Line>, &'static str> {
    if format == Format::Claude {
        let list: List = serde_json::from_value(item).map_err(|_| "no list of messages")?;
        return Ok(list.chat_messages.into_iter().filter_map(of_list).collect());
    }
    let tree: Tree = serde_json::from_value(item).map_err(|_| "no tree of messages")?;
    let mut lines = Vec::new();
    let mut at = tree.current_node;
    // A tree that goes round in a circle ends where it has more steps than nodes.
    for _ in 0..tree.mapping.len() {
        let Some(node) = at.as_ref().and_then(|id| tree.mapping.get(id)) else { break };
        lines.extend(node.message.as_ref().and_then(of_tree));
        at.clone_from(&node.parent);
    }
    lines.reverse();
    Ok(lines)
}

fn of_list(said: Said) -> Option<Line> {
    let role = match said.sender.as_str() {
        "human" => Role::User,
        "assistant" => Role::Assistant,
        _ => return None,
    };
    let pieces: Vec<String> = said.content.into_iter().map(|piece| piece.text).collect();
    let content = if said.text.is_empty() { pieces.join("\n") } else { said.text };
    line(role, &content)
}

fn of_tree(message: &Message) -> Option<Line> {
    let role = match message.author.role.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => return None,
    };
    let parts: Vec<&str> = message.content.parts.iter().filter_map(Value::as_str).collect();
    line(role, &parts.join("\n"))
}

fn line(role: Role, content: &str) -> Option<Line> {
    let content = content.trim();
    (!content.is_empty()).then(|| Line { role, content: content.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(import: &Import) -> Vec<(Role, &str)> {
        import.conversations.iter().flatten().map(|l| (l.role, l.content.as_str())).collect()
    }

    #[test]
    fn the_branch_last_in_sight_is_read_from_its_root() {
        let export = r#"[{"title":"t","current_node":"c","mapping":{
            "r":{"message":null,"parent":null,"children":["a"]},
            "a":{"message":{"author":{"role":"user"},"content":{"content_type":"text","parts":["Hi",{"asset":1}]}},"parent":"r"},
            "b":{"message":{"author":{"role":"assistant"},"content":{"content_type":"text","parts":["old"]}},"parent":"a"},
            "t":{"message":{"author":{"role":"tool"},"content":{"content_type":"code","text":"x"}},"parent":"a"},
            "c":{"message":{"author":{"role":"assistant"},"content":{"content_type":"text","parts":["new"]}},"parent":"t"}}},
            {"mapping":7},
            {"current_node":"x","mapping":{"x":{"message":null,"parent":"x"}}}]"#;
        let import = read(export).unwrap();
        assert_eq!(import.format, Format::ChatGpt);
        assert_eq!(said(&import), [(Role::User, "Hi"), (Role::Assistant, "new")]);
        assert_eq!((import.skipped, import.conversations.len()), (1, 1));
        assert_eq!(import.skipped_why, "conversation 2 is damaged (no tree of messages)");
    }

    #[test]
    fn a_list_has_text_or_pieces() {
        let export = r#"[{"name":"n","chat_messages":[{"sender":"human","text":"Hello"},
            {"sender":"assistant","text":"","content":[{"type":"text","text":"one"},{"type":"tool_use"}]},
            {"sender":"system","text":"no"}]}]"#;
        let import = read(export).unwrap();
        assert_eq!(import.format, Format::Claude);
        assert_eq!(said(&import), [(Role::User, "Hello"), (Role::Assistant, "one")]);
    }

    #[test]
    fn other_lists_are_no_export() {
        assert!(read("[1, 2]").is_none() && read("[").is_none() && read("{}").is_none());
    }
}
