//! A table: in columns when it fits the pane, otherwise each row as a list of "header: value" lines.

use crate::screen::text::{Cell, Line, Mode, label, wrap};
use crate::screen::theme::Meaning;

/// Rows of cells of graphemes; the first row is the head.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<Vec<Cell>>>,
    row: Vec<Vec<Cell>>,
}

impl Table {
    /// Ends a cell.
    pub(super) fn cell(&mut self, cell: Vec<Cell>) {
        self.row.push(cell);
    }

    /// Ends a row.
    pub(super) fn end_row(&mut self) {
        self.rows.push(std::mem::take(&mut self.row));
    }

    /// Its lines, none wider than `width`.
    pub(super) fn lines(&self, prefix: &[Cell], width: usize) -> Vec<Line> {
        let widths = self.widths();
        let total: usize =
            widths.iter().sum::<usize>() + widths.len().saturating_sub(1) * 3 + columns(prefix);
        if total <= width { self.columns(prefix, width, &widths) } else { self.list(prefix, width) }
    }

    fn widths(&self) -> Vec<usize> {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let of = |i: usize| {
            self.rows.iter().filter_map(|row| row.get(i).map(|cell| columns(cell))).max().unwrap_or(0)
        };
        (0..count).map(of).collect()
    }

    fn columns(&self, prefix: &[Cell], width: usize, widths: &[usize]) -> Vec<Line> {
        let mut lines = Vec::new();
        for (r, row) in self.rows.iter().enumerate() {
            let mut cells = Vec::new();
            for (i, room) in widths.iter().enumerate() {
                let cell = row.get(i).map_or(&[][..], Vec::as_slice);
                let bar = if i > 0 { " │ " } else { "" };
                cells.extend(label(bar, Meaning::Quiet));
                cells.extend(cell.iter().cloned().map(|c| if r == 0 { bold(c) } else { c }));
                cells.extend(label(&" ".repeat(room.saturating_sub(columns(cell))), Meaning::Base));
            }
            lines.append(&mut whole(&cells, prefix, width));
            if r == 0 {
                let rule: Vec<String> = widths.iter().map(|w| "─".repeat(*w)).collect();
                lines.append(&mut whole(&label(&rule.join("─┼─"), Meaning::Quiet), prefix, width));
            }
        }
        lines
    }

    fn list(&self, prefix: &[Cell], width: usize) -> Vec<Line> {
        let head = self.rows.first().map_or(&[][..], Vec::as_slice);
        let indent: Vec<Cell> = prefix.iter().cloned().chain(label("  ", Meaning::Base)).collect();
        let body = self.rows.get(1..).unwrap_or(&[]);
        let mut lines = Vec::new();
        for row in body.iter().chain(body.is_empty().then_some(&self.rows).into_iter().flatten()) {
            for (i, cell) in row.iter().enumerate() {
                let name = head.get(i).filter(|_| !body.is_empty()).into_iter().flatten().cloned().map(bold);
                let mut cells: Vec<Cell> = name.collect();
                cells.extend(label(if cells.is_empty() { "" } else { ": " }, Meaning::Quiet));
                cells.extend(cell.iter().cloned());
                lines.append(&mut wrap(&cells, width, prefix, &indent, Mode::Word));
            }
            lines.append(&mut wrap(&[], width, prefix, prefix, Mode::Word));
        }
        lines.pop();
        lines
    }
}

/// A line that is known to fit, with its place in the source.
fn whole(cells: &[Cell], prefix: &[Cell], width: usize) -> Vec<Line> {
    wrap(cells, width, prefix, prefix, Mode::Hard)
}

fn columns(cells: &[Cell]) -> usize {
    cells.iter().map(|cell| cell.width).sum()
}

fn bold(mut cell: Cell) -> Cell {
    cell.look.bold = true;
    cell
}
