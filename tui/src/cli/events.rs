//! What `--json` prints, one object a line. Names and order are a promise to scripts.

use aside_daemon_api::fault::Fault;
use aside_daemon_api::proto;
use serde::Serialize;

use super::report::AdapterReport;

/// One line of `--json`.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Event<'a> {
    /// One token of the answer.
    Token {
        /// Empty inside a character that is split over tokens.
        text: &'a str,
        /// "base" or "side".
        source: &'static str,
        /// Differs from what base would have said.
        changed: bool,
        /// Gate probability; null where no gate ran.
        p: Option<f32>,
        /// Token id.
        id: u32,
        /// From 0.
        index: u32,
    },
    /// The end of an answer.
    Done {
        /// The whole answer.
        text: &'a str,
        /// Its tokens.
        tokens: u32,
        /// Of these, chosen by the side network.
        side: u32,
        /// Of these, different from base.
        changed: u32,
        /// States that were shipped.
        transmissions: u32,
        /// Where the time went.
        seconds: Seconds,
    },
    /// Any failure.
    Error {
        /// One of `aside_daemon_api::fault::codes`.
        code: &'a str,
        /// The cause.
        message: &'a str,
        /// The command that repairs it, or empty.
        repair: &'a str,
    },
    /// What was forgotten.
    Forgotten {
        /// Turns.
        lessons: u32,
        /// Rows of all memories.
        rows: u64,
        /// Versions that were trained with them.
        versions: &'a [u64],
    },
    /// A file that `learn` took in.
    Imported {
        /// Its name.
        name: &'a str,
        /// "chat", "text" or "markdown".
        format: &'a str,
        /// Conversations in it.
        conversations: u32,
        /// Turns in it.
        turns: u32,
        /// Lines or turns left out.
        skipped: u32,
        /// Why the first one was.
        skipped_why: &'a str,
        /// Learned before.
        already_known: bool,
    },
    /// How far a long command is.
    Progress {
        /// "importing", "encoding", "training" or "waiting".
        phase: &'static str,
        /// Of `total`.
        done: u64,
        /// 0 while unknown.
        total: u64,
        /// Nats per token on held-out turns so far; null before the first measurement.
        nll: ProgressNll,
        /// What is going on.
        detail: &'a str,
    },
    /// The end of `learn`.
    #[serde(rename = "done")]
    Learned {
        /// Whether there is a new version.
        trained: bool,
        /// Whether it is in use.
        promoted: bool,
        /// Why not.
        why: &'a str,
        /// Conversations that the backbone's chat template refuses.
        refused: u32,
        /// The new version.
        adapter: Option<Box<AdapterReport>>,
    },
    /// The answer of `learn --status`.
    #[serde(rename = "status")]
    ByItself {
        /// Whether it learns now.
        learning: bool,
        /// The person's switch.
        paused: bool,
        /// Why it does not learn by itself; empty while it does or has nothing to learn.
        why: &'a str,
        /// Lesson tokens that no training has seen.
        pending_tokens: u64,
    },
    /// The end of `connect`.
    Connected {
        /// Name of the backbone there.
        model: &'a str,
    },
}

/// Seconds by place.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Seconds {
    cloud: f64,
    device: f64,
    net: f64,
}

/// Nats per token so far.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ProgressNll {
    base: Option<f64>,
    open: Option<f64>,
    gated: Option<f64>,
}

impl From<Option<proto::Seconds>> for Seconds {
    fn from(seconds: Option<proto::Seconds>) -> Self {
        seconds.map_or_else(Self::default, |s| Self { cloud: s.cloud, device: s.device, net: s.net })
    }
}

impl<'a> Event<'a> {
    /// A token event.
    pub(crate) fn token(token: &'a proto::AskToken) -> Self {
        Self::Token {
            text: &token.text,
            source: match token.source() {
                proto::Source::Base => "base",
                proto::Source::Side => "side",
            },
            changed: token.changed,
            p: token.p,
            id: token.id,
            index: token.index,
        }
    }

    /// The end of an answer.
    pub(crate) fn done(done: &'a proto::AskDone) -> Self {
        Self::Done {
            text: &done.text,
            tokens: done.tokens,
            side: done.side,
            changed: done.changed,
            transmissions: done.transmissions,
            seconds: done.seconds.into(),
        }
    }

    /// A failure.
    pub(crate) fn error(fault: &'a Fault) -> Self {
        Self::Error { code: &fault.code, message: &fault.message, repair: &fault.repair }
    }

    /// A file taken in.
    pub(crate) fn imported(file: &'a proto::LearnImported) -> Self {
        Self::Imported {
            name: &file.name,
            format: &file.format,
            conversations: file.conversations,
            turns: file.turns,
            skipped: file.skipped,
            skipped_why: &file.skipped_why,
            already_known: file.already_known,
        }
    }

    /// How far it is.
    pub(crate) fn progress(progress: &'a proto::LearnProgress) -> Self {
        Self::Progress {
            phase: phase(progress.phase()),
            done: progress.done,
            total: progress.total,
            nll: ProgressNll { base: progress.nll_base, open: progress.nll_open, gated: progress.nll_gated },
            detail: &progress.detail,
        }
    }
}

/// The name of a phase.
pub(crate) fn phase(state: proto::LearningState) -> &'static str {
    match state {
        proto::LearningState::Idle => "waiting",
        proto::LearningState::Importing => "importing",
        proto::LearningState::Encoding => "encoding",
        proto::LearningState::Training => "training",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(event: &Event) -> String {
        serde_json::to_string(event).unwrap()
    }

    #[test]
    fn token_events_are_as_promised() {
        let mut token = proto::AskToken { index: 2, id: 17, text: " \"hi\"\n".into(), ..Default::default() };
        assert_eq!(
            text(&Event::token(&token)),
            r#"{"type":"token","text":" \"hi\"\n","source":"base","changed":false,"p":null,"id":17,"index":2}"#
        );
        token.set_source(proto::Source::Side);
        (token.changed, token.p, token.text) = (true, Some(0.75), String::new());
        assert_eq!(
            text(&Event::token(&token)),
            r#"{"type":"token","text":"","source":"side","changed":true,"p":0.75,"id":17,"index":2}"#
        );
    }

    #[test]
    fn done_events_are_as_promised() {
        let seconds = Some(proto::Seconds { cloud: 0.5, device: 0.25, net: 0.125 });
        let done = proto::AskDone {
            text: "hi".into(),
            reason: "stop".into(),
            tokens: 9,
            side: 3,
            changed: 2,
            transmissions: 4,
            seconds,
            ..Default::default()
        };
        assert_eq!(
            text(&Event::done(&done)),
            r#"{"type":"done","text":"hi","tokens":9,"side":3,"changed":2,"transmissions":4,"seconds":{"cloud":0.5,"device":0.25,"net":0.125}}"#
        );
    }

    #[test]
    fn errors_and_learning_are_as_promised() {
        let fault = Fault::new("variant", "trained as spa").repair("aside learn --now --variant lst");
        assert_eq!(
            text(&Event::error(&fault)),
            r#"{"type":"error","code":"variant","message":"trained as spa","repair":"aside learn --now --variant lst"}"#
        );
        let progress = proto::LearnProgress { done: 1, total: 4, phase: 3, ..Default::default() };
        assert_eq!(
            text(&Event::progress(&progress)),
            r#"{"type":"progress","phase":"training","done":1,"total":4,"nll":{"base":null,"open":null,"gated":null},"detail":""}"#
        );
        assert_eq!(
            text(&Event::Learned {
                trained: false,
                promoted: false,
                why: "nothing new",
                refused: 2,
                adapter: None
            }),
            r#"{"type":"done","trained":false,"promoted":false,"why":"nothing new","refused":2,"adapter":null}"#
        );
    }
}
