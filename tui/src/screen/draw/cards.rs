//! The card of the first run (three sentences, one question) and the passphrase prompt.

use ratatui::Frame;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::panel;
use crate::screen::app::{App, Card, SLOTS, Setup, Step, Unlock};
use crate::screen::commands::{Action, key_of};
use crate::screen::text::plain;
use crate::screen::theme::Meaning;

/// What a person should know before the first word.
const SENTENCES: [&str; 3] = [
    "Stays here: what you write and what is learned from it, in an encrypted vault on this machine.",
    "Leaves: the conversation at hand, texts it learns from, and a small gate that says which words this machine \
     chooses; to the cloud that answers, which is a process on this machine until you connect another.",
    "Learns: from your words, when you type /learn, and by itself while nobody needs the machine.",
];
/// Shown for every typed character of a secret.
const MASK: &str = "*";
/// Widest card, in columns.
const WIDEST: u16 = 74;

pub(super) fn card(app: &App, card: &Card, frame: &mut Frame<'_>) {
    let columns = frame.area().width.min(WIDEST);
    let inside = usize::from(columns).saturating_sub(4).max(1);
    let most = usize::from(frame.area().height).saturating_sub(2);
    let (title, lines, scroll) = match card {
        Card::Setup(setup) => ("Welcome to Aside", fitting(app, setup, inside, most), setup.scroll),
        Card::Unlock(unlock) => ("The vault is locked", locked(app, unlock, inside), 0),
    };
    let rows = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
    let area = panel(app, frame, title, columns, rows);
    // The question stays in sight; what is above it scrolls.
    let hidden = lines.len().saturating_sub(area.height.into());
    let top = hidden.saturating_sub(scroll);
    let mut shown: Vec<Line<'_>> = lines.into_iter().skip(top).take(area.height.into()).collect();
    if top > 0 {
        let hint = format!("^ more above ({})", key_of(Action::PageUp));
        shown
            .first_mut()
            .into_iter()
            .for_each(|line| *line = Line::styled(hint.clone(), app.palette.style(Meaning::Warn)));
    }
    let inner =
        ratatui::layout::Rect { x: area.x + 1.min(area.width), width: area.width.saturating_sub(2), ..area };
    frame.render_widget(Paragraph::new(shown), inner);
}

/// All weaknesses where there is room for them; otherwise only that of the chosen slot.
fn fitting(app: &App, setup: &Setup, columns: usize, most: usize) -> Vec<Line<'static>> {
    let lines = setup_lines(app, setup, columns, true);
    if lines.len() <= most { lines } else { setup_lines(app, setup, columns, false) }
}

fn setup_lines(app: &App, setup: &Setup, columns: usize, all: bool) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for sentence in SENTENCES {
        lines.extend(plain(sentence, columns).into_iter().map(Line::raw));
    }
    lines.push(Line::default());
    match &setup.step {
        Step::Choose => choices(app, setup, columns, all, &mut lines),
        Step::First(text) => secret(app, "A passphrase for the vault:", text, columns, &mut lines),
        Step::Repeat(_, text) => secret(app, "The same once more:", text, columns, &mut lines),
        Step::Waiting => lines.push(Line::raw("Making the vault ...")),
    }
    error(app, &setup.error, columns, &mut lines);
    lines
}

fn choices(app: &App, setup: &Setup, columns: usize, all: bool, lines: &mut Vec<Line<'static>>) {
    lines.push(Line::styled("Where to keep the key of the vault?", app.palette.style(Meaning::Heading)));
    for (i, slot) in SLOTS.iter().enumerate() {
        let chosen = i == setup.slot;
        let missing = slot.key == "keyring" && setup.keyring == Some(false);
        let mark = if chosen { ">" } else { " " };
        let name = format!("{mark} {} {}", i + 1, slot.name);
        let what = if missing { "none found on this system" } else { slot.what };
        let meaning = if chosen { Meaning::Selected } else { Meaning::Base };
        let full = format!("{name}: {what}");
        if all || crate::screen::text::width(&full) <= columns {
            let mut wrapped = plain(&full, columns).into_iter();
            lines.extend(wrapped.next().map(|line| Line::styled(line, app.palette.style(meaning))));
            lines.extend(wrapped.map(|line| Line::raw(format!("    {line}"))));
        } else {
            lines.push(Line::styled(name, app.palette.style(meaning)));
        }
        if all || chosen {
            let weak = plain(slot.weak, columns.saturating_sub(4).max(1)).into_iter();
            lines.extend(
                weak.map(|line| Line::styled(format!("    {line}"), app.palette.style(Meaning::Quiet))),
            );
        }
    }
    let hint = format!(
        "1-3 or {}/{} choose, {} takes it.",
        key_of(Action::Up),
        key_of(Action::Down),
        key_of(Action::Choose)
    );
    lines.extend(
        plain(&hint, columns).into_iter().map(|line| Line::styled(line, app.palette.style(Meaning::Quiet))),
    );
}

fn locked(app: &App, unlock: &Unlock, columns: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if unlock.waiting {
        lines.push(Line::raw("Opening the vault ..."));
    } else {
        secret(app, "Passphrase:", &unlock.typed, columns, &mut lines);
    }
    error(app, &unlock.error, columns, &mut lines);
    lines
}

/// A question with a masked answer, and how to go on.
fn secret(app: &App, question: &str, typed: &str, columns: usize, lines: &mut Vec<Line<'static>>) {
    lines.push(Line::styled(question.to_owned(), app.palette.style(Meaning::Heading)));
    let stars = typed.chars().count().min(columns.saturating_sub(3));
    let cursor = Span::styled(" ", app.palette.style(Meaning::Selected));
    lines.push(Line::from(vec![Span::raw("> "), Span::raw(MASK.repeat(stars)), cursor]));
    let hint = format!("{} goes on, {} leaves.", key_of(Action::Choose), key_of(Action::Stop));
    lines.push(Line::styled(hint, app.palette.style(Meaning::Quiet)));
}

fn error(app: &App, text: &str, columns: usize, lines: &mut Vec<Line<'static>>) {
    if !text.is_empty() {
        let wrapped = plain(&format!("! {text}"), columns).into_iter();
        lines.extend(wrapped.map(|line| Line::styled(line, app.palette.style(Meaning::Bad))));
    }
}
