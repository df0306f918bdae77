//! The single lines: title, error, legend, rule, status. Each drops its least needed parts when the screen is narrow.

use aside_daemon_api::proto;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::screen::app::{App, Daemon};
use crate::screen::commands::{self, Action, key_of};
use crate::screen::text::{fit, one_line, width};
use crate::screen::theme::Meaning;

pub(super) fn title(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let room = usize::from(area.width).saturating_sub(12);
    let title = if app.private {
        "private, kept nowhere".to_owned()
    } else if app.title.is_empty() {
        "new conversation".to_owned()
    } else {
        one_line(&app.title)
    };
    let title = fit(&title, room);
    let line = Line::from(vec![
        Span::styled("─ Aside ", app.palette.style(Meaning::Heading)),
        Span::styled("─ ", app.palette.style(Meaning::Quiet)),
        Span::styled(title.clone(), app.palette.style(Meaning::Quiet)),
        Span::styled(
            " ".to_owned() + &dashes(usize::from(area.width).saturating_sub(11 + width(&title))),
            app.palette.style(Meaning::Quiet),
        ),
    ]);
    frame.render_widget(Paragraph::new(line), area);
}

pub(super) fn problem(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let style = app.palette.style(Meaning::Bad);
    let lines = app.problem_lines(area.width.into());
    let lines: Vec<Line<'_>> = lines.into_iter().map(|line| Line::styled(line, style)).collect();
    frame.render_widget(
        Paragraph::new(lines),
        Rect { x: area.x + 1.min(area.width), width: area.width.saturating_sub(1), ..area },
    );
}

/// Who chose the tokens of the last answer, counted, each in its own style.
pub(super) fn legend(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let Some(tally) = app.last else { return };
    let style = |meaning| app.palette.style(if app.marks { meaning } else { Meaning::Quiet });
    let quiet = app.palette.style(Meaning::Quiet);
    let sign = if app.marks { "^" } else { "" };
    let mut spans = vec![
        Span::styled(
            format!("base {}", tally.base()),
            app.palette.style(if app.marks { Meaning::Base } else { Meaning::Quiet }),
        ),
        Span::raw("  "),
        Span::styled(format!("side {}", tally.side), style(Meaning::Side)),
        Span::styled(" (", quiet),
        Span::styled(format!("{sign}changed {}", tally.changed), style(Meaning::Changed)),
        Span::styled(")", quiet),
    ];
    let key = key_of(Action::Marks);
    let hint = if app.marks {
        format!("  tokens of the last answer; {key} hides marks")
    } else {
        format!("  marks are hidden; {key} shows them")
    };
    let used: usize = spans.iter().map(|span| width(&span.content)).sum();
    if used + width(&hint) <= usize::from(area.width) {
        spans.push(Span::styled(hint, quiet));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

/// The line over the composer: what waits, what is below, or which commands fit what is typed.
pub(super) fn rule(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let columns = usize::from(area.width);
    let (text, meaning) = said(app);
    let text = fit(&text, columns.saturating_sub(2));
    let used = if text.is_empty() { 0 } else { width(&text) + 2 };
    let left = columns.saturating_sub(used);
    let gap = if text.is_empty() { String::new() } else { format!(" {text} ") };
    let line = Line::from(vec![
        Span::styled(dashes(left.min(2)), app.palette.style(Meaning::Quiet)),
        Span::styled(gap, app.palette.style(meaning)),
        Span::styled(dashes(left.saturating_sub(2)), app.palette.style(Meaning::Quiet)),
    ]);
    frame.render_widget(Paragraph::new(line), area);
}

fn said(app: &App) -> (String, Meaning) {
    let fits = commands::completions(&app.composer.text());
    if !fits.is_empty() {
        let names: Vec<String> =
            fits.iter().filter_map(|c| Some(format!("{} {}", c.slash?, c.what))).collect();
        return (format!("{}: {}", key_of(Action::Complete), names.join(" | ")), Meaning::Base);
    }
    let height = crate::screen::app::Areas::of(app).transcript.height.into();
    match app.view.below(app.transcript.height(), height) {
        0 => (waiting(app), Meaning::Quiet),
        n if app.unseen => (format!("v new below, {n} lines ({})", key_of(Action::End)), Meaning::Warn),
        n => (format!("v {n} lines below ({})", key_of(Action::End)), Meaning::Quiet),
    }
}

/// Why nothing comes yet.
fn waiting(app: &App) -> String {
    if app.editing {
        return format!(
            "{} keeps your version of the answer, {} gives up",
            key_of(Action::Send),
            key_of(Action::Dismiss)
        );
    }
    if app.turn.is_some() {
        return format!("{} stops the answer", key_of(Action::Stop));
    }
    match (&app.daemon, &app.status) {
        (Daemon::Starting, _) => "starting; type ahead".to_owned(),
        (Daemon::Away(_), _) => "the daemon is away; looking for it".to_owned(),
        (Daemon::Up, None) => "starting; type ahead".to_owned(),
        (Daemon::Up, Some(status)) => match (status.vault(), status.link()) {
            (proto::VaultState::Open, proto::LinkState::Connecting) => {
                detail("connecting to the cloud", &status.link_detail)
            }
            (proto::VaultState::Open, proto::LinkState::Away) => {
                detail("the cloud is away", &status.link_detail)
            }
            (proto::VaultState::Open, proto::LinkState::Refused) => {
                detail("the cloud refuses us", &status.link_detail)
            }
            _ => String::new(),
        },
    }
}

fn detail(what: &str, why: &str) -> String {
    if why.is_empty() { what.to_owned() } else { format!("{what}: {}", one_line(why)) }
}

/// The status line: parts in the order of the screen, each with its rank; the highest ranks go first when narrow.
pub(super) fn status(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let mut parts = parts(app);
    let room = usize::from(area.width);
    let total = |parts: &[Part]| parts.iter().map(|p| width(&p.text) + 2).sum::<usize>().saturating_sub(2);
    while total(&parts) > room && parts.len() > 1 {
        let least = parts.iter().enumerate().max_by_key(|(_, part)| part.rank).map_or(0, |(i, _)| i);
        parts.remove(least);
    }
    let mut spans = Vec::new();
    for part in parts {
        if !spans.is_empty() {
            spans.push(Span::raw("  "));
        }
        spans.push(Span::styled(fit(&part.text, room), app.palette.style(part.meaning)));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

struct Part {
    text: String,
    meaning: Meaning,
    rank: u8,
}

fn parts(app: &App) -> Vec<Part> {
    let part = |rank, meaning, text: String| Some(Part { text, meaning, rank });
    let status = app.status.as_ref();
    let model = status
        .and_then(|s| s.model.as_ref())
        .map(|m| fit(&one_line(&m.name), 28))
        .filter(|name| !name.is_empty());
    let rate = app.last.and_then(|tally| tally.rate()).map(|rate| format!("{rate:.0} tok/s"));
    let open = app.last.and_then(|tally| tally.open_rate()).map(|rate| format!("open {:.0}%", 100.0 * rate));
    let adapter = status.filter(|s| s.vault() == proto::VaultState::Open).map(|s| match s.adapter_version {
        _ if s.adapter_off => "adapter off".to_owned(),
        0 => "adapter: base".to_owned(),
        version => format!("adapter {version}"),
    });
    let variant = if app.answered_by.is_empty() { &app.variant } else { &app.answered_by };
    let (link, meaning) = link(app);
    let parts = [
        model.and_then(|name| part(3, Meaning::Base, name)),
        part(1, meaning, link),
        open.and_then(|text| part(2, Meaning::Quiet, text)),
        rate.and_then(|text| part(5, Meaning::Quiet, text)),
        learning(app).and_then(|text| part(4, Meaning::Quiet, text)),
        adapter.and_then(|text| part(6, Meaning::Quiet, text)),
        Some(variant.clone()).filter(|v| !v.is_empty()).and_then(|text| part(7, Meaning::Quiet, text)),
        part(0, Meaning::Quiet, format!("{} help", key_of(Action::Help))),
    ];
    parts.into_iter().flatten().collect()
}

fn link(app: &App) -> (String, Meaning) {
    let status = match (&app.daemon, &app.status) {
        (Daemon::Away(_), _) => return ("daemon away".to_owned(), Meaning::Bad),
        (Daemon::Up, Some(status)) => status,
        _ => return ("daemon starting".to_owned(), Meaning::Quiet),
    };
    let cloud = match status.cloud.as_str() {
        "" | "local" => "local cloud".to_owned(),
        other => format!("cloud {}", fit(&one_line(other), 24)),
    };
    match status.link() {
        proto::LinkState::Up if status.rtt_us > 0 => {
            (format!("{cloud} up {}", round_trip(status.rtt_us)), Meaning::Good)
        }
        proto::LinkState::Up => (format!("{cloud} up"), Meaning::Good),
        proto::LinkState::Connecting => (format!("{cloud} connecting"), Meaning::Quiet),
        proto::LinkState::Away => (format!("{cloud} away"), Meaning::Warn),
        proto::LinkState::Refused => (format!("{cloud} refused"), Meaning::Bad),
    }
}

/// A round trip in milliseconds, with a digit behind the point below ten.
fn round_trip(us: u64) -> String {
    if us < 10_000 { format!("{}.{}ms", us / 1000, us % 1000 / 100) } else { format!("{}ms", us / 1000) }
}

fn learning(app: &App) -> Option<String> {
    let status = app.status.as_ref().filter(|s| s.vault() == proto::VaultState::Open)?;
    let percent = 100.0 * status.learning_progress.clamp(0.0, 1.0);
    match status.learning() {
        proto::LearningState::Importing => Some(format!("importing {percent:.0}%")),
        proto::LearningState::Encoding => Some(format!("encoding {percent:.0}%")),
        proto::LearningState::Training => Some(format!("training {percent:.0}%")),
        proto::LearningState::Idle if app.learning.is_some() => Some("learning".to_owned()),
        proto::LearningState::Idle if status.learning_paused => Some("learning paused".to_owned()),
        proto::LearningState::Idle if status.pending_tokens > 0 => {
            let wait = format!("{} tokens to learn", status.pending_tokens);
            // Why it does not now, as far as there is room: the whole sentence is in `aside learn --status`.
            let why = fit(&one_line(&status.learning_why), 32);
            Some(if why.is_empty() { wait } else { format!("{wait} ({why})") })
        }
        proto::LearningState::Idle => Some("learning idle".to_owned()),
    }
}

fn dashes(n: usize) -> String {
    "─".repeat(n)
}
