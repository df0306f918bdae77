//! What can happen to the screen, and what it can ask the driver to do. Both are plain data.

use std::time::Duration;

use aside_daemon_api::proto;
use crossterm::event::KeyEvent;

/// Something that went wrong, with the command that repairs it; empty when there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) repair: String,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A key went down.
    Key(KeyEvent),
    /// Text was pasted.
    Paste(String),
    /// The terminal has this many columns and rows.
    Resize(u16, u16),
    /// Time since the start.
    Tick(Duration),
    /// The system asks us to end.
    Terminate,
    /// The daemon answers.
    Connected,
    /// The daemon does not answer, or no longer.
    Lost(Problem),
    /// How the daemon is.
    Status(proto::StatusReply),
    /// Something of the answer to ask number `.0`.
    Answer(u64, proto::ask_event::Event),
    /// The answer to ask number `.0` ended without its last event, or never began.
    AnswerFailed(u64, Problem),
    /// The newest conversations.
    Conversations(Vec<proto::ConversationHead>),
    /// The conversation that was asked for.
    Opened(proto::Conversation),
    /// The conversation with the draft of last time, if there is one.
    Restored(proto::Conversation),
    /// A key slot was made; what it does not protect.
    Made(String),
    /// No key slot could be made.
    NotMade(Problem),
    /// The vault is open.
    Unlocked,
    /// The passphrase did not open it.
    NotUnlocked(Problem),
    /// Whether this system has a keyring.
    Keyring(bool),
    /// Learning goes on, or is done.
    Learn(proto::learn_event::Event),
    /// Learning failed.
    LearnFailed(Problem),
    /// How the conversation's switches stand now.
    Switched(proto::ConversationHead),
    /// Something else failed.
    Failed(Problem),
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Ask; events come back with this number.
    Ask(u64, proto::AskRequest),
    /// Drop the answer with this number.
    Cancel(u64),
    /// Keep a draft.
    SaveDraft { conversation: i64, text: String },
    /// Bring back the draft of last time.
    Restore,
    /// List the conversations.
    List,
    /// Open a conversation.
    Open(i64),
    /// Make the vault with this kind of key slot.
    Init { key: &'static str, passphrase: String },
    /// Open the vault.
    Unlock(String),
    /// Find out whether there is a keyring.
    ProbeKeyring,
    /// Keep what the person thinks of the last answer.
    Rate(proto::RateRequest),
    /// Set what may happen with the conversation.
    Switch(proto::SwitchRequest),
    /// Train on what is there.
    Learn,
    /// Leave.
    Quit,
}
