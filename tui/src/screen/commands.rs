//! The one table of what a person can do. The key dispatcher, the slash completion and the help all read it, so the
//! help is always true.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Send,
    NewLine,
    Complete,
    Stop,
    Leave,
    Quit,
    New,
    Private,
    List,
    Marks,
    Again,
    Good,
    Bad,
    Edit,
    LearnHere,
    AdapterHere,
    Learn,
    Help,
    PageUp,
    PageDown,
    Top,
    End,
    LineUp,
    LineDown,
    Up,
    Down,
    Dismiss,
    Choose,
    Close,
}

/// Where a command is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the chat.
    Chat,
    /// In the list of conversations.
    List,
    /// In the help.
    Help,
    /// On a card that asks something.
    Card,
}

/// A key with its modifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chord {
    code: KeyCode,
    modifiers: KeyModifiers,
}

/// One thing a person can do.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) action: Action,
    pub(crate) places: &'static [Place],
    pub(crate) chords: &'static [Chord],
    pub(crate) slash: Option<&'static str>,
    pub(crate) what: &'static str,
}

const fn key(code: KeyCode) -> Chord {
    Chord { code, modifiers: KeyModifiers::NONE }
}

const fn ctrl(c: char) -> Chord {
    Chord { code: KeyCode::Char(c), modifiers: KeyModifiers::CONTROL }
}

const fn with(modifiers: KeyModifiers, code: KeyCode) -> Chord {
    Chord { code, modifiers }
}

const CHAT: &[Place] = &[Place::Chat];
const EVERYWHERE: &[Place] = &[Place::Chat, Place::List, Place::Help, Place::Card];
const OVERLAYS: &[Place] = &[Place::List, Place::Help];
const SCROLL: &[Place] = &[Place::Chat, Place::Help, Place::Card, Place::List];

/// Every command there is.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        action: Action::Send,
        places: CHAT,
        chords: &[key(KeyCode::Enter)],
        slash: None,
        what: "send the message",
    },
    Command {
        action: Action::NewLine,
        places: CHAT,
        chords: &[
            with(KeyModifiers::ALT, KeyCode::Enter),
            ctrl('j'),
            with(KeyModifiers::SHIFT, KeyCode::Enter),
        ],
        slash: None,
        what: "start a new line",
    },
    Command {
        action: Action::Stop,
        places: EVERYWHERE,
        chords: &[ctrl('c')],
        slash: None,
        what: "stop the answer, or leave; drafts are kept",
    },
    Command {
        action: Action::Quit,
        places: EVERYWHERE,
        chords: &[ctrl('d')],
        slash: None,
        what: "leave, when nothing is typed",
    },
    Command { action: Action::Leave, places: CHAT, chords: &[], slash: Some("/quit"), what: "leave" },
    Command {
        action: Action::New,
        places: &[Place::Chat, Place::List],
        chords: &[ctrl('n')],
        slash: Some("/new"),
        what: "start a new conversation",
    },
    Command {
        action: Action::Private,
        places: CHAT,
        chords: &[],
        slash: Some("/private"),
        what: "start a conversation that is kept nowhere",
    },
    Command {
        action: Action::List,
        places: CHAT,
        chords: &[ctrl('l')],
        slash: Some("/list"),
        what: "list the conversations",
    },
    Command {
        action: Action::Learn,
        places: CHAT,
        chords: &[],
        slash: Some("/learn"),
        what: "learn now from what you wrote",
    },
    Command {
        action: Action::Again,
        places: CHAT,
        chords: &[ctrl('r')],
        slash: Some("/again"),
        what: "answer the last question again",
    },
    Command {
        action: Action::Good,
        places: CHAT,
        chords: &[],
        slash: Some("/good"),
        what: "the last answer is one to learn from",
    },
    Command {
        action: Action::Bad,
        places: CHAT,
        chords: &[],
        slash: Some("/bad"),
        what: "never learn from the last answer",
    },
    Command {
        action: Action::Edit,
        places: CHAT,
        chords: &[],
        slash: Some("/edit"),
        what: "rewrite the last answer as it should be",
    },
    Command {
        action: Action::LearnHere,
        places: CHAT,
        chords: &[],
        slash: Some("/learnable"),
        what: "learn from this conversation, or not",
    },
    Command {
        action: Action::AdapterHere,
        places: CHAT,
        chords: &[],
        slash: Some("/adapter"),
        what: "let the adapter take part here, or not",
    },
    Command {
        action: Action::Marks,
        places: CHAT,
        chords: &[ctrl('t'), key(KeyCode::F(2))],
        slash: Some("/marks"),
        what: "show or hide who chose which words",
    },
    Command {
        action: Action::PageUp,
        places: SCROLL,
        chords: &[key(KeyCode::PageUp)],
        slash: None,
        what: "scroll up",
    },
    Command {
        action: Action::PageDown,
        places: SCROLL,
        chords: &[key(KeyCode::PageDown)],
        slash: None,
        what: "scroll down",
    },
    Command {
        action: Action::Top,
        places: CHAT,
        chords: &[with(KeyModifiers::CONTROL, KeyCode::Home)],
        slash: None,
        what: "go to the start",
    },
    Command {
        action: Action::End,
        places: CHAT,
        chords: &[with(KeyModifiers::CONTROL, KeyCode::End)],
        slash: None,
        what: "go to the end and follow it",
    },
    Command {
        action: Action::LineUp,
        places: CHAT,
        chords: &[key(KeyCode::Up)],
        slash: None,
        what: "scroll one line up, when nothing is typed",
    },
    Command {
        action: Action::LineDown,
        places: CHAT,
        chords: &[key(KeyCode::Down)],
        slash: None,
        what: "scroll one line down, when nothing is typed",
    },
    Command {
        action: Action::Up,
        places: &[Place::List, Place::Help, Place::Card],
        chords: &[key(KeyCode::Up)],
        slash: None,
        what: "one up",
    },
    Command {
        action: Action::Down,
        places: &[Place::List, Place::Help, Place::Card],
        chords: &[key(KeyCode::Down)],
        slash: None,
        what: "one down",
    },
    Command {
        action: Action::Choose,
        places: &[Place::List, Place::Card],
        chords: &[key(KeyCode::Enter)],
        slash: None,
        what: "take the chosen one",
    },
    Command {
        action: Action::Complete,
        places: CHAT,
        chords: &[key(KeyCode::Tab)],
        slash: None,
        what: "complete a command like /new",
    },
    Command {
        action: Action::Help,
        places: &[Place::Chat, Place::List, Place::Card],
        chords: &[key(KeyCode::F(1))],
        slash: Some("/help"),
        what: "show this help",
    },
    Command {
        action: Action::Close,
        places: OVERLAYS,
        chords: &[key(KeyCode::Esc)],
        slash: None,
        what: "back to the chat",
    },
    Command {
        action: Action::Close,
        places: &[Place::Help],
        chords: &[key(KeyCode::F(1))],
        slash: None,
        what: "close this help",
    },
    Command {
        action: Action::Dismiss,
        places: CHAT,
        chords: &[key(KeyCode::Esc)],
        slash: None,
        what: "put away an error; give up an edit",
    },
];

/// The command of a key in a place.
pub(crate) fn find(place: Place, event: &KeyEvent) -> Option<&'static Command> {
    let valid =
        |command: &&Command| command.places.contains(&place) && command.chords.iter().any(|c| c.is(event));
    COMMANDS.iter().find(valid)
}

/// The commands whose slash name starts with what was typed; all of the text must be the start of a name.
pub(crate) fn completions(typed: &str) -> Vec<&'static Command> {
    let starts = |command: &&Command| command.slash.is_some_and(|name| name.starts_with(typed));
    if typed.starts_with('/') { COMMANDS.iter().filter(starts).collect() } else { Vec::new() }
}

/// The command of exactly this slash name.
pub(crate) fn slash(typed: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.slash == Some(typed.trim()))
}

/// The key that a hint should name for an action.
pub(crate) fn key_of(action: Action) -> String {
    let command = COMMANDS.iter().find(|command| command.action == action);
    command
        .and_then(|c| c.chords.first().map(Chord::to_string).or(c.slash.map(str::to_owned)))
        .unwrap_or_default()
}

impl Command {
    /// Its keys and its slash name, as the help shows them.
    pub(crate) fn keys(&self) -> String {
        let chords = self.chords.iter().map(Chord::to_string);
        chords.chain(self.slash.map(str::to_owned)).collect::<Vec<_>>().join(", ")
    }

    /// Where it is valid, when that is not the chat.
    pub(crate) fn heading(&self) -> &'static str {
        match self.places.first() {
            Some(Place::Chat) | None => "In the chat",
            Some(Place::List | Place::Help | Place::Card) => "In lists, cards and this help",
        }
    }
}

impl Chord {
    fn is(&self, event: &KeyEvent) -> bool {
        let relevant = KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT;
        let code = match event.code {
            KeyCode::Char(c) => KeyCode::Char(c.to_ascii_lowercase()),
            code => code,
        };
        code == self.code && event.modifiers & relevant == self.modifiers
    }
}

impl std::fmt::Display for Chord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (modifier, name) in
            [(KeyModifiers::CONTROL, "Ctrl+"), (KeyModifiers::ALT, "Alt+"), (KeyModifiers::SHIFT, "Shift+")]
        {
            if self.modifiers.contains(modifier) {
                f.write_str(name)?;
            }
        }
        match self.code {
            KeyCode::Char(c) => write!(f, "{}", c.to_ascii_uppercase()),
            KeyCode::F(n) => write!(f, "F{n}"),
            KeyCode::PageUp => f.write_str("PgUp"),
            KeyCode::PageDown => f.write_str("PgDn"),
            other => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_chord_is_taken_twice_in_a_place() {
        for place in [Place::Chat, Place::List, Place::Help, Place::Card] {
            let here = COMMANDS.iter().filter(|c| c.places.contains(&place));
            let mut chords: Vec<String> = here.flat_map(|c| c.chords.iter().map(Chord::to_string)).collect();
            let all = chords.len();
            chords.sort();
            chords.dedup();
            assert_eq!(chords.len(), all, "{place:?}: {chords:?}");
        }
    }

    #[test]
    fn every_command_can_be_reached() {
        for command in COMMANDS {
            assert!(!command.keys().is_empty(), "{:?}", command.action);
            assert!(!command.places.is_empty(), "{:?}", command.action);
        }
    }

    #[test]
    fn completions_narrow_down() {
        let names = |typed| completions(typed).iter().filter_map(|c| c.slash).collect::<Vec<_>>();
        assert_eq!(names("/l"), ["/list", "/learn", "/learnable"]);
        assert_eq!(names("/new"), ["/new"]);
        assert!(names("new").is_empty());
        assert!(names("/newer").is_empty());
    }
}
