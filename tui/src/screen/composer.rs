//! The editor of the message: many lines, wrapped, with nothing in it that a terminal could obey.

use crossterm::event::KeyEvent;
use ratatui::style::Style;
use ratatui_textarea::{CursorMove, TextArea, WrapMode};

use crate::screen::text::{clean, plain, width};
use crate::screen::theme::{Meaning, Palette};

/// The message being typed.
#[derive(Debug)]
pub(crate) struct Composer {
    area: TextArea<'static>,
    palette: Palette,
}

impl Composer {
    /// An empty one.
    pub(crate) fn new(palette: Palette) -> Self {
        Self { area: area(Vec::new(), palette), palette }
    }

    /// What is typed.
    pub(crate) fn text(&self) -> String {
        self.area.lines().join("\n")
    }

    /// Whether nothing is typed.
    pub(crate) fn is_empty(&self) -> bool {
        self.area.is_empty()
    }

    /// Replaces the text; the cursor goes to its end.
    pub(crate) fn set(&mut self, text: &str) {
        self.area = area(clean(text).split('\n').map(str::to_owned).collect(), self.palette);
        self.area.move_cursor(CursorMove::Bottom);
        self.area.move_cursor(CursorMove::End);
    }

    /// Inserts text at the cursor.
    pub(crate) fn insert(&mut self, text: &str) {
        self.area.insert_str(clean(text));
    }

    /// An editing key; whether the text changed.
    pub(crate) fn key(&mut self, key: KeyEvent) -> bool {
        self.area.input(key)
    }

    /// Lines it takes at a width, at least one; counted up to `most`, for this is asked with every frame.
    pub(crate) fn height(&self, columns: usize, most: usize) -> usize {
        // The cursor may stand behind a full line.
        let rows = |line: &String| plain(line, columns).len().max(width(line) / columns.max(1) + 1);
        let mut height = 0;
        for line in self.area.lines() {
            height += rows(line);
            if height >= most {
                return most;
            }
        }
        height
    }

    /// The widget.
    pub(crate) fn widget(&self) -> &TextArea<'static> {
        &self.area
    }
}

fn area(lines: Vec<String>, palette: Palette) -> TextArea<'static> {
    let mut area = if lines.is_empty() { TextArea::default() } else { TextArea::new(lines) };
    area.set_wrap_mode(WrapMode::WordOrGlyph);
    area.set_cursor_line_style(Style::default());
    area.set_placeholder_text("Say something");
    area.set_placeholder_style(palette.style(Meaning::Quiet));
    area
}
