//! The help, built from the table of commands, and the list of conversations.

use aside_daemon_api::proto;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::panel;
use crate::screen::app::App;
use crate::screen::commands::{Action, COMMANDS, key_of};
use crate::screen::text::{fit, one_line, plain, width};
use crate::screen::theme::{Meaning, Palette};

/// Widest box of an overlay, in columns.
const WIDEST: u16 = 76;

/// Lines the help takes on a screen of so many columns.
pub(crate) fn help_height(columns: u16) -> usize {
    help_lines(Palette::Plain, columns.min(WIDEST).saturating_sub(2).into()).len()
}

pub(super) fn help(app: &App, top: usize, frame: &mut Frame<'_>) {
    let columns = frame.area().width.min(WIDEST);
    let lines = help_lines(app.palette, columns.saturating_sub(2).into());
    let rows = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
    let title = format!(
        "Help: {}/{} scroll, {} closes",
        key_of(Action::PageUp),
        key_of(Action::PageDown),
        key_of(Action::Close)
    );
    let area = panel(app, frame, &fit(&title, usize::from(columns).saturating_sub(4)), columns, rows);
    let shown: Vec<Line<'_>> = lines.into_iter().skip(top).take(area.height.into()).collect();
    frame.render_widget(Paragraph::new(shown), area);
}

fn help_lines(palette: Palette, columns: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for heading in ["In the chat", "In lists, cards and this help"] {
        lines.push(Line::styled(heading, palette.style(Meaning::Heading)));
        let here = COMMANDS.iter().filter(|command| command.heading() == heading);
        for command in here {
            lines.append(&mut row(palette, &command.keys(), command.what, columns));
        }
    }
    lines.push(Line::styled("How to read an answer", palette.style(Meaning::Heading)));
    let key = [
        ("base", Meaning::Base, "chosen by the backbone in the cloud"),
        ("side", Meaning::Side, "chosen on this machine by the side network"),
        ("^changed", Meaning::Changed, "chosen here; base would have differed"),
    ];
    for (name, meaning, what) in key {
        let mut rows = row(palette, name, what, columns);
        let first = rows.first_mut().and_then(|line| line.spans.get_mut(1));
        first.into_iter().for_each(|span| *span = Span::styled(name, palette.style(meaning)));
        lines.append(&mut rows);
    }
    lines
}

/// Keys on the left and what they do on the right, or below each other where that is too narrow.
fn row(palette: Palette, keys: &str, what: &str, columns: usize) -> Vec<Line<'static>> {
    let left = if columns >= 60 { 31 } else { 0 };
    let keys_span = Span::styled(keys.to_owned(), palette.style(Meaning::Code));
    if left == 0 {
        let mut lines = vec![Line::from(vec![Span::raw(" "), keys_span])];
        let whats = plain(what, columns.saturating_sub(4).max(1)).into_iter();
        lines.extend(whats.map(|line| Line::raw(format!("    {line}"))));
        return lines;
    }
    let whats = plain(what, columns.saturating_sub(left).max(1)).into_iter().enumerate();
    whats
        .map(|(i, line)| match i {
            0 => {
                let gap = " ".repeat(left.saturating_sub(1 + width(keys)).max(1));
                Line::from(vec![Span::raw(" "), keys_span.clone(), Span::raw(gap), Span::raw(line)])
            }
            _ => Line::raw(format!("{}{line}", " ".repeat(left))),
        })
        .collect()
}

pub(super) fn list(
    app: &App,
    heads: Option<&[proto::ConversationHead]>,
    chosen: usize,
    frame: &mut Frame<'_>,
) {
    let columns = frame.area().width.min(WIDEST);
    let count = heads.map_or(0, <[_]>::len) + 3;
    let rows = u16::try_from(count).unwrap_or(u16::MAX).max(5);
    let title = format!("Conversations: {} opens, {} closes", key_of(Action::Choose), key_of(Action::Close));
    let area = panel(app, frame, &fit(&title, usize::from(columns).saturating_sub(4)), columns, rows);
    let mut lines = vec![entry(app, chosen == 0, "+ a new conversation", "", area)];
    match heads {
        None => lines.push(Line::styled("  reading the vault ...", app.palette.style(Meaning::Quiet))),
        Some(heads) => lines.extend(heads.iter().enumerate().map(|(i, head)| {
            let size = format!("{} messages", head.messages);
            entry(app, chosen == i + 1, &one_line(&head.title), &size, area)
        })),
    }
    let top = (chosen + 1).saturating_sub(area.height.into());
    let shown: Vec<Line<'_>> = lines.into_iter().skip(top).take(area.height.into()).collect();
    frame.render_widget(Paragraph::new(shown), area);
}

fn entry(app: &App, chosen: bool, title: &str, size: &str, area: Rect) -> Line<'static> {
    let room = usize::from(area.width);
    let title = fit(title, room.saturating_sub(width(size) + 4));
    let gap = room.saturating_sub(2 + width(&title) + width(size) + 1);
    let text = format!("{}{title}{}{size} ", if chosen { "> " } else { "  " }, " ".repeat(gap));
    Line::styled(text, app.palette.style(if chosen { Meaning::Selected } else { Meaning::Base }))
}
