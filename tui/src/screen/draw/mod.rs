//! Draws the screen: a pure function of the state. Nothing here decides anything.

mod bars;
mod cards;
mod chat;
mod overlays;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Clear;

use super::app::{App, Areas, Overlay};
use super::provenance::Mark;
use super::text;
use super::theme::{Meaning, Palette};

pub(crate) use overlays::help_height;

/// Draws everything.
pub(crate) fn draw(app: &App, frame: &mut Frame<'_>) {
    let areas = Areas::of(app);
    bars::title(app, frame, areas.title);
    chat::transcript(app, frame, areas.transcript);
    bars::problem(app, frame, areas.problem);
    bars::legend(app, frame, areas.legend);
    bars::rule(app, frame, areas.rule);
    chat::composer(app, frame, areas.composer);
    bars::status(app, frame, areas.status);
    match (&app.overlay, &app.card) {
        (Some(Overlay::Help(top)), _) => overlays::help(app, *top, frame),
        (Some(Overlay::List { heads, chosen }), _) => overlays::list(app, heads.as_deref(), *chosen, frame),
        (None, Some(card)) => cards::card(app, card, frame),
        (None, None) => {}
    }
}

/// A laid out line in the colours of a palette.
fn styled<'a>(palette: Palette, line: &'a text::Line, marks: bool) -> Line<'a> {
    let spans = line.pieces.iter().map(|piece| {
        let mut style = palette.style(piece.look.meaning.unwrap_or(Meaning::Base));
        let bold =
            if piece.look.bold { ratatui::style::Modifier::BOLD } else { ratatui::style::Modifier::empty() };
        let italic = if piece.look.italic {
            ratatui::style::Modifier::ITALIC
        } else {
            ratatui::style::Modifier::empty()
        };
        let struck = if piece.look.struck {
            ratatui::style::Modifier::CROSSED_OUT
        } else {
            ratatui::style::Modifier::empty()
        };
        style = style.add_modifier(bold | italic | struck);
        // The source of a word outranks the colour of its markup.
        match piece.mark {
            Mark::Side if marks => style = style.patch(palette.style(Meaning::Side)),
            Mark::Changed if marks => style = style.patch(palette.style(Meaning::Changed)),
            _ => {}
        }
        Span::styled(piece.text.as_str(), style)
    });
    Line::from_iter(spans)
}

/// A box over the middle of the screen, emptied, of at most this size; what is inside its frame.
fn panel(app: &App, frame: &mut Frame<'_>, title: &str, columns: u16, rows: u16) -> Rect {
    use ratatui::widgets::Block;
    let screen = frame.area();
    let (width, height) = (columns.min(screen.width), rows.min(screen.height));
    let area = Rect { x: (screen.width - width) / 2, y: (screen.height - height) / 2, width, height };
    let title = Span::styled(format!(" {title} "), app.palette.style(Meaning::Heading));
    let block = Block::bordered().border_style(app.palette.style(Meaning::Quiet)).title(title);
    let inside = block.inner(area);
    // A wide character may not be cut in half by the frame.
    let cleared = Rect {
        x: area.x.saturating_sub(1),
        width: (area.width + 2).min(screen.width - area.x.saturating_sub(1)),
        ..area
    };
    frame.render_widget(Clear, cleared);
    frame.render_widget(block, area);
    inside
}
