//! A mailbox (mbox): what its owner wrote. The owner is whoever sent most of it; quoted lines and signatures are not the
//! owner's words. Each paragraph is one own turn.

use std::collections::BTreeMap;

use mail_parser::MessageParser;
use mail_parser::mailbox::mbox::MessageIterator;

use super::{Format, Import, prose};

/// Whether a file is a mailbox.
pub(super) fn is(content: &[u8]) -> bool {
    let second = content.iter().position(|b| *b == b'\n').and_then(|at| content.get(at + 1..));
    // The separator line, then a header: prose that begins with "From " has none.
    let header = second.and_then(|rest| rest.split(|b| *b == b'\n').next()).is_some_and(|line| {
        let name = line.split(|b| *b == b':').next().unwrap_or_default();
        name.len() < line.len() && !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic())
    });
    content.starts_with(b"From ") && header
}

/// A message's sender and text.
struct Mail {
    from: String,
    text: String,
}

pub(super) fn read(content: &[u8]) -> Import {
    let parser = MessageParser::default();
    let (mut mails, mut damaged) = (Vec::new(), 0);
    for raw in MessageIterator::new(content).flatten() {
        let mail = parser.parse(raw.contents()).and_then(|message| {
            let from = message.from()?.first()?.address()?.to_lowercase();
            Some(Mail { from, text: message.body_text(0)?.into_owned() })
        });
        match mail {
            Some(mail) => mails.push(mail),
            None => damaged += 1,
        }
    }
    let mut sent: BTreeMap<&str, usize> = BTreeMap::new();
    mails.iter().for_each(|mail| *sent.entry(&mail.from).or_default() += 1);
    let owner = sent.iter().max_by_key(|(_, count)| **count).map(|(from, _)| (*from).to_owned());
    let (own, others): (Vec<&Mail>, Vec<&Mail>) =
        mails.iter().partition(|mail| Some(&mail.from) == owner.as_ref());
    let conversations =
        own.iter().flat_map(|mail| prose::read(Format::Text, &own_words(&mail.text)).conversations);
    let skipped_why = match (others.len(), damaged) {
        (0, 0) => String::new(),
        (0, _) => "it has no sender or no text".to_owned(),
        _ => "it was not sent by the one who sent most".to_owned(),
    };
    Import {
        format: Format::Mbox,
        conversations: conversations.collect(),
        skipped: others.len() + damaged,
        skipped_why,
    }
}

/// Without what was quoted, the line that introduces it, and the signature.
fn own_words(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        if line == "-- " || line == "--" {
            break;
        }
        if line.trim_start().starts_with('>') {
            // "On Monday Ann wrote:" belongs to the quotation.
            let before = lines.iter().rposition(|line| !line.trim().is_empty());
            if let Some(at) =
                before.filter(|at| lines.get(*at).is_some_and(|line| line.trim_end().ends_with(':')))
            {
                lines.truncate(at);
            }
            continue;
        }
        lines.push(line);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: &str = "From ann@example.org Sat Jan  3 01:05:34 1996\n\
        From: Ann <Ann@example.org>\nSubject: one\nContent-Type: text/plain; charset=utf-8\n\
        Content-Transfer-Encoding: quoted-printable\n\n\
        I baked rye=\n bread, caf=C3=A9 style.\n\nOn Monday Bob wrote:\n> What did you bake?\n\nYours\n-- \nAnn\nTown\n\n\
        From bob@example.org Sat Jan  3 02:05:34 1996\nFrom: bob@example.org\nSubject: two\n\nNot mine.\n\n\
        From ann@example.org Sat Jan  3 03:05:34 1996\nFrom: ann@example.org\nSubject: three\n\nSecond letter.\n";

    #[test]
    fn only_what_the_owner_wrote_is_learned() {
        assert!(is(BOX.as_bytes()) && !is(b"From here on it is prose.\nReally.") && !is(b"Dear Bob"));
        let import = read(BOX.as_bytes());
        let said: Vec<&str> = import.conversations.iter().map(|c| c[0].content.as_str()).collect();
        assert_eq!(said, ["I baked rye bread, café style.", "Yours", "Second letter."]);
        assert_eq!((import.skipped, import.skipped_why.is_empty()), (1, false));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(content: Vec<u8>) {
            let mut mailbox = b"From x\nFrom: a@b.c\n\n".to_vec();
            mailbox.extend(content);
            read(&mailbox);
        }
    }
}
