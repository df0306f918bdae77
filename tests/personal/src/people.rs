//! People and what they said: persona users (whole conversations) and IRC users (their messages, with those before).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use aside_daemon::kit::Message;
use flate2::read::GzDecoder;
use serde::Deserialize;

use crate::Fallible;

/// One conversation.
pub(crate) struct Talk {
    pub(crate) lines: Vec<Message>,
    /// To learn from; else to measure on.
    pub(crate) train: bool,
    /// Only what the person said counts: the other side is a crowd.
    pub(crate) own_only: bool,
}

/// One person.
pub(crate) struct Person {
    /// "persona" or "irc".
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) talks: Vec<Talk>,
}

#[derive(Deserialize)]
struct Said {
    role: String,
    content: String,
}

#[derive(Deserialize)]
struct PersonaRow {
    user: String,
    split: String,
    messages: Vec<Said>,
}

#[derive(Deserialize)]
struct IrcRow {
    user: String,
    split: String,
    day: String,
    input: String,
    target: String,
}

/// Messages of an IRC user that make one conversation.
const IRC_TURNS: usize = 6;
/// Conversations of an IRC user that are learned from, and measured on: as much as a persona user has.
const IRC_TALKS: [usize; 2] = [60, 20];

/// Everybody in `folder`: `persona_users.jsonl.gz` and `irc_users.jsonl.gz`.
pub(crate) fn people(folder: &Path) -> Fallible<Vec<Person>> {
    let mut out = persona(&rows(&folder.join("persona_users.jsonl.gz"))?);
    out.extend(irc(&rows(&folder.join("irc_users.jsonl.gz"))?));
    Ok(out)
}

fn rows<T: for<'a> Deserialize<'a>>(path: &Path) -> Fallible<Vec<T>> {
    let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

fn persona(rows: &[PersonaRow]) -> Vec<Person> {
    let mut out: BTreeMap<&str, Vec<Talk>> = BTreeMap::new();
    for row in rows {
        let lines = row.messages.iter().map(|m| Message::new(&m.role, m.content.trim())).collect();
        let talk = Talk { lines, train: row.split == "train", own_only: false };
        out.entry(&row.user).or_default().push(talk);
    }
    let person = |(name, talks): (&str, _)| Person { kind: "persona", name: name.to_owned(), talks };
    out.into_iter().map(person).collect()
}

/// Messages of a day, a few to a conversation: what others said before is the other side.
fn irc(rows: &[IrcRow]) -> Vec<Person> {
    let mut out: BTreeMap<&str, Vec<(&str, Talk)>> = BTreeMap::new();
    for row in rows {
        let talks = out.entry(&row.user).or_default();
        let train = row.split == "train";
        let open = talks.last().is_some_and(|(day, talk)| {
            *day == row.day && talk.train == train && talk.lines.len() < 2 * IRC_TURNS
        });
        if !open {
            talks.push((&row.day, Talk { lines: Vec::new(), train, own_only: true }));
        }
        if let Some((_, talk)) = talks.last_mut() {
            talk.lines.push(Message::new("assistant", row.input.trim()));
            talk.lines.push(Message::new("user", row.target.trim()));
        }
    }
    let [train, test] = IRC_TALKS;
    let person = |(name, talks): (&str, Vec<(&str, Talk)>)| {
        let (learned, measured): (Vec<Talk>, Vec<Talk>) =
            talks.into_iter().map(|(_, talk)| talk).partition(|talk| talk.train);
        let talks = learned.into_iter().take(train).chain(measured.into_iter().take(test)).collect();
        Person { kind: "irc", name: name.to_owned(), talks }
    };
    out.into_iter().map(person).collect()
}
