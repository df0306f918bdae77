//! The transcript and the composer.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::styled;
use crate::screen::app::App;
use crate::screen::commands::Action;
use crate::screen::commands::{Place, key_of};
use crate::screen::text::plain;
use crate::screen::theme::Meaning;

pub(super) fn transcript(app: &App, frame: &mut Frame<'_>, area: Rect) {
    if app.transcript.entries().is_empty() {
        return welcome(app, frame, area);
    }
    let top = app.view.top(app.transcript.height(), area.height.into());
    let lines = app.transcript.from(top).take(area.height.into());
    let lines: Vec<Line<'_>> = lines.map(|line| styled(app.palette, line, app.marks)).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

/// An empty conversation says what to do.
fn welcome(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let text = format!(
        "A new conversation. {} sends, {} starts a new line, {} lists the other conversations, {} shows every key.",
        key_of(Action::Send),
        key_of(Action::NewLine),
        key_of(Action::List),
        key_of(Action::Help),
    );
    let quiet = app.palette.style(Meaning::Quiet);
    let lines = plain(&text, area.width.into()).into_iter().map(|line| Line::styled(line, quiet));
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
}

pub(super) fn composer(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let text = Rect { x: area.x + 2.min(area.width), width: area.width.saturating_sub(2), ..area };
    let prompt = Span::styled("> ", app.palette.style(Meaning::Person));
    frame.render_widget(Paragraph::new(Line::from(prompt)), Rect { height: 1.min(area.height), ..area });
    frame.render_widget(app.composer.widget(), text);
    if app.place() == Place::Chat {
        cursor(app, frame, text);
    }
}

/// The terminal's own cursor stands where the next character goes, for input methods and screen readers.
fn cursor(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let place = app.composer.widget().screen_cursor();
    let (top, left) = app.composer.widget().scroll_offset();
    let row = u16::try_from(place.row).unwrap_or(u16::MAX).saturating_sub(top);
    let column = u16::try_from(place.col).unwrap_or(u16::MAX).saturating_sub(left);
    let at = Position::new(area.x.saturating_add(column), area.y.saturating_add(row));
    if area.contains(at) {
        frame.set_cursor_position(at);
        // One cursor is enough.
        if let Some(cell) = frame.buffer_mut().cell_mut(at) {
            cell.modifier.remove(Modifier::REVERSED);
        }
    }
}
