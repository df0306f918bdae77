//! Where everything is. Used by the state machine (page size, wrap width) and by the drawing alike.

use ratatui::layout::{Constraint, Layout, Rect};

use super::App;
use crate::screen::text::plain;

/// The parts of the screen, top down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Areas {
    pub(crate) title: Rect,
    pub(crate) transcript: Rect,
    /// An error and its repair; empty without one.
    pub(crate) problem: Rect,
    /// Who chose which words; empty before the first answer.
    pub(crate) legend: Rect,
    pub(crate) rule: Rect,
    pub(crate) composer: Rect,
    pub(crate) status: Rect,
}

impl Areas {
    /// The parts for what is on screen now.
    pub(crate) fn of(app: &App) -> Self {
        let (columns, rows) = app.size;
        let most = (rows / 3).max(1);
        let composer = app.composer.height(usize::from(columns.saturating_sub(2)).max(1), most.into());
        let composer = u16::try_from(composer).unwrap_or(u16::MAX).clamp(1, most);
        let problem = app.problem_lines(columns.into()).len();
        let problem = u16::try_from(problem).unwrap_or(u16::MAX).min(rows / 3);
        let legend = u16::from(app.last.is_some() && rows > 6);
        let parts = Layout::vertical([
            Constraint::Length(u16::from(rows > 4)),
            Constraint::Min(1),
            Constraint::Length(problem),
            Constraint::Length(legend),
            Constraint::Length(u16::from(rows > 3)),
            Constraint::Length(composer),
            Constraint::Length(u16::from(rows > 2)),
        ]);
        let [title, transcript, problem, legend, rule, composer, status] =
            parts.areas(Rect::new(0, 0, columns, rows));
        let transcript = inner(transcript);
        Self { title, transcript, problem, legend: inner(legend), rule, composer, status }
    }
}

/// A column of air on both sides, where there is room for it.
fn inner(area: Rect) -> Rect {
    if area.width < 24 { area } else { Rect { x: area.x + 1, width: area.width - 2, ..area } }
}

impl App {
    /// The error on screen, wrapped: what happened, then what repairs it.
    pub(crate) fn problem_lines(&self, columns: usize) -> Vec<String> {
        let Some(problem) = &self.problem else { return Vec::new() };
        let room = columns.saturating_sub(2).max(1);
        let mut lines = plain(&format!("! {}", problem.message), room);
        if !problem.repair.is_empty() {
            lines.extend(plain(&format!("  repair: {}", problem.repair), room));
        }
        lines
    }
}
