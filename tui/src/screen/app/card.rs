//! The two questions that come before the chat: where the vault's key lies (first run), and the passphrase (locked).

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::App;
use crate::screen::commands::Action;
use crate::screen::event::{Effect, Problem};

/// A key that was meant for the chat must not answer a card that has just come up.
const GRACE: Duration = Duration::from_millis(500);

/// A place for the vault's key.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Its name on the wire.
    pub(crate) key: &'static str,
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// What it does not protect against.
    pub(crate) weak: &'static str,
}

/// The choices of the first run.
pub(crate) const SLOTS: [Slot; 3] = [
    Slot {
        key: "keyring",
        name: "system keyring",
        what: "opens by itself while you are logged in",
        weak: "Does not protect against other programs that run as you.",
    },
    Slot {
        key: "passphrase",
        name: "passphrase",
        what: "asked for when Aside starts",
        weak: "Does not protect if it is guessed; if you forget it, all is lost.",
    },
    Slot {
        key: "file",
        name: "key file",
        what: "never asks; only you may read the file",
        weak: "Does not protect against anyone who can copy your files.",
    },
];

/// A question before the chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Card {
    Setup(Setup),
    Unlock(Unlock),
}

/// The first run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) slot: usize,
    pub(crate) step: Step,
    pub(crate) error: String,
    /// Lines scrolled up from the question, on a small screen.
    pub(crate) scroll: usize,
    /// Whether there is a keyring; unknown at first.
    pub(crate) keyring: Option<bool>,
    moved: bool,
    shown: Duration,
}

/// How far the first run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Which slot.
    Choose,
    /// The passphrase, typed once.
    First(String),
    /// The same again.
    Repeat(String, String),
    /// The vault is being made.
    Waiting,
}

/// A locked vault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unlock {
    pub(crate) typed: String,
    pub(crate) waiting: bool,
    pub(crate) error: String,
}

impl Card {
    pub(super) fn setup(now: Duration) -> Self {
        let (error, scroll, keyring) = (String::new(), 0, None);
        Self::Setup(Setup { slot: 1, step: Step::Choose, error, scroll, keyring, moved: false, shown: now })
    }

    pub(super) fn unlock() -> Self {
        Self::Unlock(Unlock::default())
    }

    /// Whether a secret is begun.
    fn typing(&self) -> bool {
        match self {
            Self::Setup(Setup { step: Step::First(text) | Step::Repeat(_, text), .. }) => !text.is_empty(),
            Self::Setup(_) => false,
            Self::Unlock(unlock) => !unlock.typed.is_empty(),
        }
    }

    /// The secret being typed, if one is.
    fn secret(&mut self) -> Option<&mut String> {
        match self {
            Self::Setup(Setup { step: Step::First(text) | Step::Repeat(_, text), .. }) => Some(text),
            Self::Unlock(Unlock { typed, waiting: false, .. }) => Some(typed),
            _ => None,
        }
    }
}

impl App {
    /// The keyring is the default where there is one.
    pub(super) fn keyring(&mut self, there: bool) {
        if let Some(Card::Setup(setup)) = &mut self.card {
            setup.keyring = Some(there);
            if there && !setup.moved && setup.step == Step::Choose {
                setup.slot = 0;
            }
        }
    }

    pub(super) fn card_failed(&mut self, problem: &Problem) {
        match &mut self.card {
            Some(Card::Setup(setup)) => {
                setup.step = Step::Choose;
                setup.error.clone_from(&problem.message);
            }
            Some(Card::Unlock(unlock)) => {
                *unlock = Unlock { error: problem.message.clone(), ..Unlock::default() };
            }
            None => self.problem = Some(problem.clone()),
        }
    }

    /// A command on a card.
    pub(super) fn card_action(&mut self, action: Action) -> Vec<Effect> {
        match (action, &mut self.card) {
            (Action::Stop, _) => self.leave(),
            (Action::Quit, Some(card)) if !card.typing() => self.leave(),
            (Action::Choose, Some(Card::Setup(setup))) => {
                let early = self.now.saturating_sub(setup.shown) < GRACE;
                if early { Vec::new() } else { setup.enter().into_iter().collect() }
            }
            (Action::Choose, Some(Card::Unlock(unlock))) if !unlock.waiting && !unlock.typed.is_empty() => {
                unlock.waiting = true;
                vec![Effect::Unlock(std::mem::take(&mut unlock.typed))]
            }
            (action, Some(Card::Setup(setup))) => {
                setup.moved(action);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Any other key on a card.
    pub(super) fn card_key(&mut self, key: KeyEvent) {
        let plain = (key.modifiers - KeyModifiers::SHIFT).is_empty();
        match (&mut self.card, key.code) {
            (Some(Card::Setup(setup)), KeyCode::Char(c @ '1'..='3')) if setup.step == Step::Choose => {
                setup.slot = c.to_digit(10).map_or(0, |n| n as usize - 1);
                setup.moved = true;
            }
            (Some(Card::Setup(setup)), KeyCode::Esc) if setup.step != Step::Waiting => {
                setup.step = Step::Choose
            }
            (Some(card), KeyCode::Char(c)) if plain && !c.is_control() => {
                card.secret().into_iter().for_each(|text| text.push(c));
            }
            (Some(card), KeyCode::Backspace) => {
                card.secret().and_then(String::pop);
            }
            _ => {}
        }
    }

    /// A pasted passphrase.
    pub(super) fn card_paste(&mut self, text: &str) {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        self.card.iter_mut().filter_map(Card::secret).for_each(|secret| secret.push_str(&text));
    }
}

impl Setup {
    fn enter(&mut self) -> Option<Effect> {
        let key = SLOTS.get(self.slot).map_or("passphrase", |slot| slot.key);
        self.error.clear();
        match std::mem::replace(&mut self.step, Step::Waiting) {
            Step::Choose if key == "passphrase" => self.step = Step::First(String::new()),
            Step::Choose => return Some(Effect::Init { key, passphrase: String::new() }),
            Step::First(text) if text.is_empty() => self.step = Step::First(text),
            Step::First(text) => self.step = Step::Repeat(text, String::new()),
            Step::Repeat(first, again) if first == again => {
                return Some(Effect::Init { key, passphrase: first });
            }
            Step::Repeat(..) => {
                "The two are not the same. Once more:".clone_into(&mut self.error);
                self.step = Step::First(String::new());
            }
            Step::Waiting => {}
        }
        None
    }

    fn moved(&mut self, action: Action) {
        match action {
            Action::Up | Action::Down if self.step == Step::Choose => {
                let step = if action == Action::Up { SLOTS.len() - 1 } else { 1 };
                self.slot = (self.slot + step) % SLOTS.len();
                self.moved = true;
            }
            Action::PageUp => self.scroll = self.scroll.saturating_add(4),
            Action::PageDown => self.scroll = self.scroll.saturating_sub(4),
            _ => {}
        }
    }
}
