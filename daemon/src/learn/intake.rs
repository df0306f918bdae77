//! Takes lessons in: files that the user imports, and conversations of the chat that may be learned from.

use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{LearnFile, LearnImported};
use ring::digest::{SHA256, digest};

use super::import::{self, Import, Line, Role};
use crate::faults::blocking;
use crate::vault::{ImportOutcome, LessonInput, MessageRow, SourceInput, Vault, VaultError};

/// Weights of lessons (method, section 5): what the user imports, approves or wrote instead, what the user says, what
/// nobody judged. A reply that the user rejected is no lesson.
const IMPORTED: f64 = 1.0;
const APPROVED: f64 = 1.0;
const OWN: f64 = 0.5;
const UNRATED: f64 = 0.05;
/// Longest message that is a lesson, in bytes: a pasted log is nobody's words.
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
    let source = |lines: &Vec<Line>| {
        let known = Hashes::of(lines);
        let taught = |(_, line): &(usize, &Line)| line.role != Role::System && line.content.len() <= LONGEST;
        let lesson = |(turn, line): (usize, &Line)| LessonInput {
            turn: turn as u32,
            own: line.role == Role::User,
            weight: IMPORTED,
            message: None,
            content: known.contents.get(turn).cloned().unwrap_or_default(),
        };
        let lessons = lines.iter().enumerate().filter(taught).map(lesson).collect();
        Ok(SourceInput { lines: json(lines)?, beginnings: known.beginnings, lessons })
    };
    import.conversations.iter().map(source).collect()
}

/// What was said, as hashes by which it is known again.
pub(super) struct Hashes {
    /// Of the first message, of the first two, and so on.
    pub(super) beginnings: Vec<Vec<u8>>,
    /// Of every message with the one before it.
    pub(super) contents: Vec<Vec<u8>>,
}

impl Hashes {
    pub(super) fn of(lines: &[Line]) -> Self {
        let (mut beginnings, mut contents): (Vec<Vec<u8>>, Vec<Vec<u8>>) = Default::default();
        let mut before = Vec::new();
        for line in lines {
            let own = hash(&[line.role.as_str().as_bytes(), b":", line.content.as_bytes()]);
            beginnings.push(hash(&[beginnings.last().map_or(&[], Vec::as_slice), &own]));
            contents.push(hash(&[&before, &own]));
            before = own;
        }
        Self { beginnings, contents }
    }
}

fn hash(parts: &[&[u8]]) -> Vec<u8> {
    digest(&SHA256, &parts.concat()).as_ref().to_vec()
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

/// A conversation of the chat as the model is shown it, without questions that were never answered: own turns are
/// lessons, and replies that came to their end.
fn chat(messages: &[MessageRow]) -> Result<SourceInput, VaultError> {
    let (mut lines, mut taken): (Vec<Line>, Vec<&MessageRow>) = Default::default();
    for message in messages.iter().filter(|m| !m.text.trim().is_empty()) {
        let role = if message.role == "user" { Role::User } else { Role::Assistant };
        if role == Role::User && lines.last().is_some_and(|last| last.role == Role::User) {
            lines.pop();
            taken.pop();
        }
        lines.push(Line { role, content: message.text.clone() });
        taken.push(message);
    }
    let known = Hashes::of(&lines);
    let mut lessons = Vec::new();
    for ((turn, message), content) in (0..).zip(taken).zip(known.contents) {
        let own = message.role == "user";
        let weight = match message.rating.as_str() {
            _ if own => Some(OWN),
            "good" | "edited" => Some(APPROVED),
            "bad" => None,
            _ if message.interrupted => None,
            _ => Some(UNRATED),
        };
        if let Some(weight) = weight.filter(|_| message.text.len() <= LONGEST) {
            lessons.push(LessonInput { turn, own, weight, message: Some(message.id), content });
        }
    }
    Ok(SourceInput { lines: json(&lines)?, beginnings: known.beginnings, lessons })
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
            rating: String::new(),
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
            message("user", "never answered", false),
            message("assistant", "", true),
            message("user", "q3", false),
        ];
        let input = chat(&messages).unwrap();
        let lines: Vec<Line> = serde_json::from_str(&input.lines).unwrap();
        assert_eq!((lines.len(), input.beginnings.len()), (5, 5));
        assert_eq!(lines[4].content, "q3");
        let lessons: Vec<_> = input.lessons.iter().map(|l| (l.turn, l.own, l.weight)).collect();
        assert_eq!(lessons, [(0, true, 0.5), (1, false, 0.05), (2, true, 0.5), (4, true, 0.5)]);
    }

    #[test]
    fn what_the_person_thinks_of_a_reply_is_its_weight() {
        let rated = |rating: &str, interrupted| MessageRow {
            rating: rating.into(),
            ..message("assistant", "a", interrupted)
        };
        let weight = |rating: &str, interrupted| {
            let input = chat(&[message("user", "q", false), rated(rating, interrupted)]).unwrap();
            input.lessons.get(1).map(|l| l.weight)
        };
        assert_eq!((weight("good", false), weight("edited", false)), (Some(1.0), Some(1.0)));
        assert_eq!((weight("good", true), weight("bad", false)), (Some(1.0), None));
        assert_eq!((weight("", false), weight("", true)), (Some(0.05), None));
    }

    #[test]
    fn a_pasted_log_is_no_lesson() {
        let log = "line\n".repeat(3000);
        let said = [
            message("user", &log, false),
            message("assistant", "yes", false),
            message("user", "short", false),
        ];
        let input = chat(&said).unwrap();
        assert_eq!(input.lessons.iter().map(|l| l.turn).collect::<Vec<_>>(), [1, 2]);
        let file = serde_json::json!({"messages": [{"role": "user", "content": log}, {"role": "user", "content": "b"}]});
        let import = import::read("x.jsonl", file.to_string().as_bytes()).unwrap();
        assert_eq!(sources(&import).unwrap()[0].lessons.len(), 1);
    }

    #[test]
    fn a_message_is_known_with_the_one_before_it_and_a_conversation_by_all_its_beginnings() {
        let line = |content: &str| Line { role: Role::User, content: content.into() };
        let (a, b) =
            (Hashes::of(&[line("x"), line("y"), line("z")]), Hashes::of(&[line("w"), line("y"), line("z")]));
        assert_eq!(a.contents[2], b.contents[2]);
        assert!(a.contents[1] != b.contents[1] && a.beginnings.iter().all(|h| !b.beginnings.contains(h)));
        assert_eq!(Hashes::of(&[line("x"), line("y")]).beginnings, a.beginnings[..2]);
    }

    #[test]
    fn an_import_counts_in_full_and_instructions_are_no_lesson() {
        let file = br#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}"#;
        let sources = sources(&import::read("x.jsonl", file).unwrap()).unwrap();
        let lessons: Vec<_> = sources[0].lessons.iter().map(|l| (l.turn, l.own, l.weight)).collect();
        assert_eq!(lessons, [(1, true, 1.0), (2, false, 1.0)]);
    }
}
