//! Tests of the screen as a whole: flows of keys and daemon events, every screen as a snapshot, properties of the text.

mod flows;
mod props;
mod rpc;
mod screens;

use std::time::Duration;

use aside_daemon_api::proto;
use aside_daemon_api::proto::ask_event::Event as Answer;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use super::app::App;
use super::event::{Effect, Event, Problem};
use super::theme::Palette;

/// An App with the effects it has asked for so far.
struct Bench {
    app: App,
    effects: Vec<Effect>,
}

impl Bench {
    fn new(palette: Palette, size: (u16, u16)) -> Self {
        Self { app: App::new(palette, String::new(), size), effects: Vec::new() }
    }

    /// One that is ready to chat.
    fn ready(palette: Palette, size: (u16, u16)) -> Self {
        let mut bench = Self::new(palette, size);
        bench.send(Event::Connected);
        bench.send(Event::Status(status(proto::VaultState::Open, proto::LinkState::Up)));
        bench
    }

    fn send(&mut self, event: Event) {
        self.effects.extend(self.app.update(event));
    }

    /// Types keys: text as it is, others as `<ret>`, `<C-c>`, `<pgup>`.
    fn keys(&mut self, keys: &str) {
        for key in parse(keys) {
            self.send(Event::Key(key));
        }
    }

    fn tick(&mut self, seconds: f64) {
        self.send(Event::Tick(Duration::from_secs_f64(seconds)));
    }

    /// Number of the answer that was asked for last.
    fn number(&self) -> u64 {
        let asked =
            self.effects.iter().rev().find_map(|e| if let Effect::Ask(n, _) = e { Some(*n) } else { None });
        asked.expect("something was asked")
    }

    fn started(&mut self, conversation: i64) {
        let started = proto::AskStarted {
            conversation,
            variant: "spa".to_owned(),
            adapter_version: 2,
            ..Default::default()
        };
        self.send(Event::Answer(self.number(), Answer::Started(started)));
    }

    /// Streams tokens, each with its source: " " base, "s" side, "c" changed.
    fn tokens(&mut self, tokens: &[(char, &str)]) {
        for (i, (source, text)) in tokens.iter().enumerate() {
            let index = u32::try_from(i).unwrap();
            let token = proto::AskToken {
                index,
                id: index,
                text: (*text).to_owned(),
                source: i32::from(*source != ' '),
                changed: *source == 'c',
                p: None,
            };
            self.send(Event::Answer(self.number(), Answer::Token(token)));
        }
    }

    fn done(&mut self, text: &str, counts: (u32, u32, u32)) {
        let seconds = Some(proto::Seconds { cloud: 0.5, device: 0.25, net: 0.25 });
        let (tokens, side, changed) = counts;
        let (text, reason) = (text.to_owned(), "stop".to_owned());
        let done = proto::AskDone { text, reason, tokens, side, changed, seconds, ..Default::default() };
        self.send(Event::Answer(self.number(), Answer::Done(done)));
    }

    fn buffer(&self) -> Buffer {
        let (columns, rows) = self.app.size;
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| super::draw::draw(&self.app, frame)).unwrap();
        terminal.backend().buffer().clone()
    }

    fn screen(&self) -> String {
        text(&self.buffer())
    }
}

/// What a buffer shows, without the spaces at the ends of lines.
fn text(buffer: &Buffer) -> String {
    use ratatui::buffer::CellWidth as _;
    let area = buffer.area;
    let line = |y| {
        let mut line = String::new();
        let mut x = 0;
        while x < area.width {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += symbol.cell_width().max(1);
        }
        line.trim_end().to_owned()
    };
    (0..area.height).map(line).collect::<Vec<_>>().join("\n")
}

/// Runs of cells with a style, one a line: `row:from-to "text" colour attributes`.
fn styles(buffer: &Buffer) -> String {
    let area = buffer.area;
    let mut out = Vec::new();
    for y in 0..area.height {
        let mut runs: Vec<(u16, u16, String, String)> = Vec::new();
        for x in 0..area.width {
            let cell = &buffer[(x, y)];
            let mut look = Vec::new();
            if cell.fg != ratatui::style::Color::Reset {
                look.push(cell.fg.to_string());
            }
            if !cell.modifier.is_empty() {
                look.push(format!("{:?}", cell.modifier));
            }
            let look = look.join(" ");
            match runs.last_mut() {
                Some((_, to, text, last)) if *last == look => {
                    *to = x;
                    text.push_str(cell.symbol());
                }
                _ => runs.push((x, x, cell.symbol().to_owned(), look)),
            }
        }
        let styled = runs.into_iter().filter(|(.., look)| !look.is_empty());
        out.extend(
            styled.map(|(from, to, text, look)| format!("{y}:{from}-{to} {:?} {look}", text.trim_end())),
        );
    }
    out.join("\n")
}

fn status(vault: proto::VaultState, link: proto::LinkState) -> proto::StatusReply {
    let model = proto::ModelInfo { name: "Bundled 8M".to_owned(), ..Default::default() };
    proto::StatusReply {
        vault: vault.into(),
        vault_detail: if vault == proto::VaultState::Locked { "it needs a passphrase" } else { "" }.into(),
        link: link.into(),
        cloud: "local".to_owned(),
        rtt_us: 180,
        model: Some(model),
        adapter_version: 2,
        ..Default::default()
    }
}

fn problem(code: &str, message: &str, repair: &str) -> Problem {
    Problem { code: code.to_owned(), message: message.to_owned(), repair: repair.to_owned() }
}

fn head(id: i64, title: &str, messages: u32) -> proto::ConversationHead {
    proto::ConversationHead { id, title: title.to_owned(), messages, ..Default::default() }
}

fn parse(keys: &str) -> Vec<KeyEvent> {
    let mut events = Vec::new();
    let mut rest = keys;
    while let Some(c) = rest.chars().next() {
        if let Some((name, after)) = rest.strip_prefix('<').and_then(|r| r.split_once('>')) {
            events.push(named(name));
            rest = after;
        } else {
            let code = if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) };
            events.push(KeyEvent::new(code, KeyModifiers::NONE));
            rest = &rest[c.len_utf8()..];
        }
    }
    events
}

fn named(name: &str) -> KeyEvent {
    let (modifiers, name) = match name.split_once('-') {
        Some(("C", rest)) => (KeyModifiers::CONTROL, rest),
        Some(("A", rest)) => (KeyModifiers::ALT, rest),
        Some(("S", rest)) => (KeyModifiers::SHIFT, rest),
        _ => (KeyModifiers::NONE, name),
    };
    let code = match name {
        "ret" => KeyCode::Enter,
        "esc" => KeyCode::Esc,
        "tab" => KeyCode::Tab,
        "bs" => KeyCode::Backspace,
        "up" => KeyCode::Up,
        "down" => KeyCode::Down,
        "pgup" => KeyCode::PageUp,
        "pgdn" => KeyCode::PageDown,
        "home" => KeyCode::Home,
        "end" => KeyCode::End,
        "f1" => KeyCode::F(1),
        "f2" => KeyCode::F(2),
        one => KeyCode::Char(one.chars().next().expect("a key")),
    };
    KeyEvent::new(code, modifiers)
}
