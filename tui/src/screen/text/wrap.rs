//! Wraps graphemes into lines no wider than the pane. A line breaks at a space, after a wide character, or, where a
//! word is longer than the line, anywhere. Spaces at a break are dropped; nothing else ever is.

use super::cell::{Cell, Line};

/// Where a line may break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// At spaces, if there are any.
    Word,
    /// Anywhere: code keeps its columns.
    Hard,
}

/// Lines of at most `width` columns (at least 1); `first` and `rest` are drawn before the first and the other lines.
pub(crate) fn wrap(cells: &[Cell], width: usize, first: &[Cell], rest: &[Cell], mode: Mode) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut left = cells;
    let mut at = cells.first().map_or(0, |cell| cell.at);
    loop {
        let prefix = if lines.is_empty() { first } else { rest };
        let prefix = fitting(prefix, width.saturating_sub(2));
        let room = width.saturating_sub(columns(prefix)).max(1);
        let (line, next) = split(left, room, mode);
        at = line.first().map_or(at, |cell| cell.at);
        lines.push(Line::join(prefix, &shrunk(line, room), at));
        left = next;
        if left.is_empty() {
            return lines;
        }
    }
}

fn columns(cells: &[Cell]) -> usize {
    cells.iter().map(|cell| cell.width).sum()
}

/// The longest start of a prefix that leaves room for text.
fn fitting(prefix: &[Cell], room: usize) -> &[Cell] {
    prefix.split_at_checked(count(prefix, room)).map_or(prefix, |(start, _)| start)
}

/// How many cells fit into `room` columns.
fn count(cells: &[Cell], room: usize) -> usize {
    let mut used = 0;
    cells
        .iter()
        .take_while(|cell| {
            used += cell.width;
            used <= room
        })
        .count()
}

/// The cells of one line, and what is left for the next ones.
fn split(cells: &[Cell], room: usize, mode: Mode) -> (&[Cell], &[Cell]) {
    let fits = count(cells, room).max(1);
    if fits >= cells.len() {
        return (cells, &[]);
    }
    if mode == Mode::Hard {
        return cells.split_at(fits);
    }
    // The break may lie on the first cell that no longer fits, when it is a space.
    let edge = (1..=fits).rev().find(|&i| breaks(cells, i)).unwrap_or(fits);
    let (line, next) = cells.split_at(edge);
    let spaces = next.iter().take_while(|cell| cell.is_space()).count();
    (trimmed(line), next.get(spaces..).unwrap_or(&[]))
}

/// Whether a line may end before cell `i`.
fn breaks(cells: &[Cell], i: usize) -> bool {
    let (Some(before), Some(after)) = (i.checked_sub(1).and_then(|b| cells.get(b)), cells.get(i)) else {
        return false;
    };
    // A sign stays with its token.
    !before.sign && (before.is_space() || after.is_space() || before.width > 1 || after.width > 1)
}

/// Without the spaces at its end, unless it is nothing but spaces.
fn trimmed(line: &[Cell]) -> &[Cell] {
    let end = line.iter().rposition(|cell| !cell.is_space()).map_or(line.len(), |i| i + 1);
    line.get(..end).unwrap_or(line)
}

/// A pane of one column has no room for a wide character: it becomes a sign of one column.
fn shrunk(line: &[Cell], room: usize) -> Vec<Cell> {
    let mut line = line.to_vec();
    for cell in line.iter_mut().filter(|cell| cell.width > room) {
        cell.text = "\u{fffd}".to_owned();
        cell.width = 1;
    }
    line
}
