//! Walks the events of pulldown-cmark and collects blocks. Signs that carry meaning without colour stay visible:
//! heading hashes, code fences and back ticks, quote bars, bullets.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::Block;
use super::table::Table;
use crate::screen::provenance::Ranges;
use crate::screen::text::{Cell, Look, Mode, cells, label, one_line};
use crate::screen::theme::Meaning;

/// What lines are inside of.
enum Container {
    Quote,
    List(Option<u64>),
    Item { bullet: String, used: bool },
}

struct Builder<'a> {
    source: &'a str,
    ranges: &'a Ranges,
    signs: bool,
    blocks: Vec<Block>,
    containers: Vec<Container>,
    line: Vec<Cell>,
    looks: Vec<Look>,
    links: Vec<String>,
    table: Option<Table>,
    code: bool,
    /// A blank line is due before the next block.
    gap: bool,
}

/// The blocks of a text.
pub(super) fn blocks(source: &str, ranges: &Ranges, signs: bool) -> Vec<Block> {
    let mut builder = Builder {
        source,
        ranges,
        signs,
        blocks: Vec::new(),
        containers: Vec::new(),
        line: Vec::new(),
        looks: Vec::new(),
        links: Vec::new(),
        table: None,
        code: false,
        gap: false,
    };
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    for (event, range) in Parser::new_ext(source, options).into_offset_iter() {
        builder.event(event, range);
    }
    builder.flush(Mode::Word);
    builder.blocks
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, range: Range<usize>) {
        match event {
            Event::Start(tag) => self.start(tag, range),
            Event::End(end) => self.end(end),
            Event::Text(text) if self.code => self.code(&text, range),
            Event::Text(text) => self.inline(&text, range, None),
            Event::Code(text) => {
                self.tag("`", Meaning::Quiet, range.start);
                self.inline(&text, range, Some(Meaning::Code));
                self.tag("`", Meaning::Quiet, 0);
            }
            Event::Html(text) | Event::InlineHtml(text) => self.raw(&text, range),
            Event::SoftBreak | Event::HardBreak => self.newline(),
            Event::Rule => self.rule(range.start),
            Event::TaskListMarker(done) => {
                self.tag(if done { "[x] " } else { "[ ] " }, Meaning::Quiet, range.start)
            }
            Event::FootnoteReference(_) | Event::InlineMath(_) | Event::DisplayMath(_) => {
                let text = self.source.get(range.clone()).unwrap_or_default().to_owned();
                self.inline(&text, range, None);
            }
        }
    }

    fn start(&mut self, tag: Tag<'_>, range: Range<usize>) {
        match tag {
            Tag::Heading { level, .. } => {
                self.flush(Mode::Word);
                self.look(|look| Look { bold: true, ..look });
                let hashes = format!("{} ", "#".repeat(depth(level)));
                self.tag(&hashes, Meaning::Quiet, range.start);
            }
            Tag::BlockQuote(_) => self.open(Container::Quote),
            Tag::CodeBlock(kind) => {
                self.flush(Mode::Word);
                let language =
                    if let CodeBlockKind::Fenced(name) = &kind { one_line(name) } else { String::new() };
                self.tag(&format!("```{language}"), Meaning::Quiet, range.start);
                self.flush(Mode::Hard);
                self.code = true;
            }
            Tag::List(number) => {
                // A nested list follows its item's text without a blank line.
                self.flush(Mode::Word);
                self.containers.push(Container::List(number));
            }
            Tag::Item => self.item(),
            Tag::Table(_) => {
                self.flush(Mode::Word);
                self.table = Some(Table::default());
            }
            Tag::Emphasis => self.look(|look| Look { italic: true, ..look }),
            Tag::Strong => self.look(|look| Look { bold: true, ..look }),
            Tag::Strikethrough => self.look(|look| Look { struck: true, ..look }),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.links.push(dest_url.to_string());
                self.look(|look| Look { meaning: Some(Meaning::Link), ..look });
            }
            _ => {}
        }
    }

    fn end(&mut self, end: TagEnd) {
        match end {
            TagEnd::Paragraph | TagEnd::HtmlBlock => {
                self.flush(Mode::Word);
                self.gap = true;
            }
            TagEnd::Heading(_) => {
                self.looks.pop();
                self.flush(Mode::Word);
                self.gap = true;
            }
            TagEnd::CodeBlock => self.end_code(),
            TagEnd::BlockQuote(_) | TagEnd::List(_) => self.close(true),
            TagEnd::Item => self.close(false),
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.line);
                self.table.iter_mut().for_each(|table| table.cell(cell.clone()));
            }
            TagEnd::TableHead | TagEnd::TableRow => self.table.iter_mut().for_each(Table::end_row),
            TagEnd::Table => self.end_table(),
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough => drop(self.looks.pop()),
            TagEnd::Link | TagEnd::Image => self.end_link(),
            _ => {}
        }
    }

    fn open(&mut self, container: Container) {
        self.flush(Mode::Word);
        if self.gap && !self.blocks.is_empty() {
            self.blank();
        }
        self.containers.push(container);
    }

    fn close(&mut self, gap: bool) {
        self.flush(Mode::Word);
        if let Some(Container::Item { bullet, used: false }) = self.containers.last_mut() {
            // An item without text still shows its bullet.
            let bullet = label(bullet, Meaning::Quiet);
            self.containers.pop();
            let (first, rest) = self.prefixes();
            self.blocks.push(Block::Text { first, rest, cells: bullet, mode: Mode::Word });
            return;
        }
        self.containers.pop();
        let nested = self.containers.iter().any(|c| matches!(c, Container::Item { .. }));
        self.gap = (self.gap || gap) && !nested;
    }

    fn item(&mut self) {
        self.flush(Mode::Word);
        let bullet = match self.containers.last_mut() {
            Some(Container::List(Some(number))) => {
                let bullet = format!("{number}. ");
                *number += 1;
                bullet
            }
            _ => "• ".to_owned(),
        };
        self.containers.push(Container::Item { bullet, used: false });
    }

    fn look(&mut self, change: impl FnOnce(Look) -> Look) {
        let look = change(self.looks.last().copied().unwrap_or_default());
        self.looks.push(look);
    }

    /// A visible piece of markup.
    fn tag(&mut self, text: &str, meaning: Meaning, at: usize) {
        let mut cells = label(text, meaning);
        let at = if at == 0 { self.line.last().map_or(0, |cell| cell.at) } else { at };
        cells.iter_mut().for_each(|cell| cell.at = at);
        self.line.append(&mut cells);
    }

    fn inline(&mut self, text: &str, range: Range<usize>, meaning: Option<Meaning>) {
        let look = self.looks.last().copied().unwrap_or_default();
        let look = Look { meaning: meaning.or(look.meaning), ..look };
        let mut new = located(self.source, self.ranges, text, range, look, self.signs);
        self.line.append(&mut new);
    }

    fn raw(&mut self, text: &str, range: Range<usize>) {
        let mut at = range.start;
        for (i, piece) in text.split('\n').enumerate() {
            if i > 0 {
                self.newline();
            }
            self.inline(piece, at..at + piece.len(), None);
            at += piece.len() + 1;
        }
    }

    fn newline(&mut self) {
        if self.table.is_some() {
            let mut space = label(" ", Meaning::Base);
            self.line.append(&mut space);
        } else {
            self.flush(Mode::Word);
        }
    }

    /// Text of a code block: whole lines, each in its own block, so that it keeps its breaks and its columns.
    fn code(&mut self, text: &str, range: Range<usize>) {
        let mut at = range.start;
        for line in text.split_inclusive('\n') {
            let bare = line.strip_suffix('\n').unwrap_or(line);
            self.inline(bare, at..at + bare.len(), Some(Meaning::Code));
            at += line.len();
            if bare.len() < line.len() {
                self.block(Mode::Hard);
            }
        }
    }

    fn end_code(&mut self) {
        self.flush(Mode::Hard);
        self.code = false;
        self.tag("```", Meaning::Quiet, 0);
        self.flush(Mode::Hard);
        self.gap = true;
    }

    fn end_link(&mut self) {
        self.looks.pop();
        let url = self.links.pop().unwrap_or_default();
        let shown: String = self.line.iter().map(|cell| cell.text.as_str()).collect();
        if !url.is_empty() && !shown.ends_with(&url) {
            self.tag(&format!(" ({})", one_line(&url)), Meaning::Quiet, 0);
        }
    }

    fn rule(&mut self, at: usize) {
        self.flush(Mode::Word);
        let (first, _) = self.prefixes();
        self.blocks.push(Block::Rule { prefix: first, at });
        self.gap = true;
    }

    fn end_table(&mut self) {
        let Some(table) = self.table.take() else { return };
        self.space();
        let (prefix, _) = self.prefixes();
        self.blocks.push(Block::Table { prefix, table });
        self.gap = true;
    }

    /// Ends the line at hand, if there is one.
    fn flush(&mut self, mode: Mode) {
        if !self.line.is_empty() {
            self.block(mode);
        }
    }

    fn block(&mut self, mode: Mode) {
        self.space();
        let (first, rest) = self.prefixes();
        let cells = std::mem::take(&mut self.line);
        self.blocks.push(Block::Text { first, rest, cells, mode });
    }

    /// The blank line that is due.
    fn space(&mut self) {
        if std::mem::take(&mut self.gap) && !self.blocks.is_empty() {
            self.blank();
        }
    }

    fn blank(&mut self) {
        self.gap = false;
        let bars = self.containers.iter().filter(|c| matches!(c, Container::Quote)).count();
        let prefix = label(&"│ ".repeat(bars), Meaning::Quote);
        self.blocks.push(Block::Text {
            first: prefix.clone(),
            rest: prefix,
            cells: Vec::new(),
            mode: Mode::Word,
        });
    }

    /// What stands before the first line and before the others.
    fn prefixes(&mut self) -> (Vec<Cell>, Vec<Cell>) {
        let (mut first, mut rest) = (Vec::new(), Vec::new());
        for container in &mut self.containers {
            match container {
                Container::Quote => {
                    first.extend(label("│ ", Meaning::Quote));
                    rest.extend(label("│ ", Meaning::Quote));
                }
                Container::Item { bullet, used } => {
                    let blank = " ".repeat(bullet.chars().count());
                    let shown = if std::mem::replace(used, true) { blank.as_str() } else { bullet.as_str() };
                    first.extend(label(shown, Meaning::Quiet));
                    rest.extend(label(&blank, Meaning::Quiet));
                }
                Container::List(_) => {}
            }
        }
        (first, rest)
    }
}

/// Graphemes of an event's text. Where the text is not literally in the source (an entity), all of it gets the
/// strongest mark of the event's range.
fn located(
    source: &str,
    ranges: &Ranges,
    text: &str,
    range: Range<usize>,
    look: Look,
    signs: bool,
) -> Vec<Cell> {
    let inside = source.get(range.clone()).unwrap_or_default();
    if let Some(offset) = inside.find(text) {
        return cells(text, range.start + offset, look, ranges, signs);
    }
    let (mark, _) = ranges.at(range.clone());
    let mut cells = cells(text, 0, look, &Ranges::default(), false);
    cells.iter_mut().for_each(|cell| (cell.mark, cell.at) = (mark, range.start));
    cells
}

fn depth(level: HeadingLevel) -> usize {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}
