//! Takes lessons in: files that the user imports, and conversations of the chat that may be learned from.

use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{LearnFile, LearnImported};
use ring::digest::{SHA256, digest};

use super::import::{self, Import, Line, Role};
use crate::faults::blocking;
use crate::vault::{ImportOutcome, LessonInput, MessageRow, SourceInput, Vault, VaultError};

/// Weights of lessons (method, section 5): what the user imports, what the user says, what nobody judged.
const IMPORTED: f64 = 1.0;
const OWN: f64 = 0.5;
const UNRATED: f64 = 0.05;
/// Longest message of the chat that is a lesson, in bytes: a pasted log is nobody's words.
const LONGEST: usize = 8 << 10;

/// Reads a file and keeps its lessons, once for the same content.
///
/// # Errors
/// `bad-request` when it holds nothing to learn; those of the vault.
pub(super) async fn import(vault: &Vault, file: LearnFile) -> Result<LearnImported, Fault> {
    let vault = vault.clone();
    let work = move || {
        let LearnFile { name, content } = file;
        let sha256 = crate::hex(digest(&SHA256, &content).as_ref());
        let import = match import::read(&name, &content) {
            Ok(import) => import,
            Err(why) => return Ok(Err(Fault::new(codes::BAD_REQUEST, why.to_string()))),
        };
        let sources = sources(&import)?;
        let outcome = vault.add_import(&name, &sha256, &sources, crate::now())?;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Ok(LearnImported {
            name,
            format: import.format.as_str().to_owned(),
            conversations: count(import.conversations.len()),
            turns: count(sources.iter().map(|s| s.lessons.len()).sum()),
            skipped: count(import.skipped),
            skipped_why: import.skipped_why,
            already_known: outcome == ImportOutcome::Known,
        }))
    };
    blocking(work).await?
}

fn sources(import: &Import) -> Result<Vec<SourceInput>, VaultError> {
    let lesson = |turn: usize, line: &Line| match line.role {
        Role::System => None,
        role => {
            Some(LessonInput { turn: turn as u32, own: role == Role::User, weight: IMPORTED, message: None })
        }
    };
    let source = |lines: &Vec<Line>| {
        let lessons = lines.iter().enumerate().filter_map(|(turn, line)| lesson(turn, line)).collect();
        Ok(SourceInput { lines: json(lines)?, lessons })
    };
    import.conversations.iter().map(source).collect()
}

/// Takes what was chatted since the last time; how many lessons are new.
///
/// # Errors
/// Those of the vault.
pub(super) async fn chats(vault: &Vault) -> Result<usize, Fault> {
    let vault = vault.clone();
    blocking(move || {
        let mut new = 0;
        for id in vault.conversations_to_learn()? {
            let input = chat(&vault.messages(id)?)?;
            if !input.lessons.is_empty() {
                new += vault.set_chat_source(id, &input, crate::now())?;
            }
        }
        Ok(new)
    })
    .await
}

/// A conversation of the chat: own turns, and replies that came to their end.
fn chat(messages: &[MessageRow]) -> Result<SourceInput, VaultError> {
    let (mut lines, mut lessons) = (Vec::new(), Vec::new());
    for message in messages.iter().filter(|m| !m.text.trim().is_empty()) {
        let own = message.role == "user";
        let turn = lines.len() as u32;
        if message.text.len() <= LONGEST && (own || !message.interrupted) {
            let weight = if own { OWN } else { UNRATED };
            lessons.push(LessonInput { turn, own, weight, message: Some(message.id) });
        }
        let role = if own { Role::User } else { Role::Assistant };
        lines.push(Line { role, content: message.text.clone() });
    }
    Ok(SourceInput { lines: json(&lines)?, lessons })
}

fn json(lines: &[Line]) -> Result<String, VaultError> {
    serde_json::to_string(lines).map_err(|e| VaultError::Damaged(format!("a conversation: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: &str, text: &str, interrupted: bool) -> MessageRow {
        MessageRow {
            id: 0,
            role: role.into(),
            text: text.into(),
            created: 0,
            attempt: 0,
            interrupted,
            marks: Vec::new(),
            stats: None,
        }
    }

    #[test]
    fn own_turns_weigh_more_than_replies_and_a_cut_reply_is_context_only() {
        let messages = [
            message("user", "q1", false),
            message("assistant", "a1", false),
            message("user", "q2", false),
            message("assistant", "half an ans", true),
            message("user", "q3", false),
            message("assistant", "", true),
        ];
        let input = chat(&messages).unwrap();
        let lines: Vec<Line> = serde_json::from_str(&input.lines).unwrap();
        assert_eq!(lines.len(), 5);
        let lessons: Vec<_> = input.lessons.iter().map(|l| (l.turn, l.own, l.weight)).collect();
        assert_eq!(lessons, [(0, true, 0.5), (1, false, 0.05), (2, true, 0.5), (4, true, 0.5)]);
    }

    #[test]
    fn a_pasted_log_is_no_lesson() {
        let log = "line\n".repeat(3000);
        let input = chat(&[message("user", &log, false), message("user", "short", false)]).unwrap();
        assert_eq!(input.lessons.iter().map(|l| l.turn).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn an_import_counts_in_full_and_instructions_are_no_lesson() {
        let file = br#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}"#;
        let sources = sources(&import::read("x.jsonl", file).unwrap()).unwrap();
        let lessons: Vec<_> = sources[0].lessons.iter().map(|l| (l.turn, l.own, l.weight)).collect();
        assert_eq!(lessons, [(1, true, 1.0), (2, false, 1.0)]);
    }
}
