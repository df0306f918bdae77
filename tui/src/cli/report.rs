//! Numbers of adapters as JSON objects and as text for people.

use std::time::{Duration, UNIX_EPOCH};

use aside_daemon_api::proto;
use serde::Serialize;

/// Numbers of one evaluation, in nats per token (method, section 7). All null when there was no token.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct EvaluationReport {
    tokens: u64,
    nll: Nll,
    gated_cost: Option<f64>,
    open_rate: Option<f64>,
    diff_rate: Option<f64>,
    diff_pick_rate: Option<f64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Nll {
    base: Option<f64>,
    open: Option<f64>,
    gated: Option<f64>,
}

/// What `adapter eval --json` prints.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct EvalReport {
    all: EvaluationReport,
    own: EvaluationReport,
    replies: EvaluationReport,
}

/// One adapter version.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AdapterReport {
    version: u64,
    in_use: bool,
    created: i64,
    variant: String,
    model: String,
    lesson_tokens: u64,
    parameters: u64,
    memory_rows: u64,
    parameters_percent: f64,
    held_out: Option<EvaluationReport>,
    threshold: f64,
    thresholds: Vec<Threshold>,
    epochs: u32,
    train_seconds: f64,
    bytes: u64,
    note: String,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Threshold {
    threshold: f64,
    open_rate: f64,
}

impl EvaluationReport {
    /// Of one part; absent and empty parts have no rates.
    fn of(numbers: Option<&proto::Evaluation>) -> Self {
        let numbers = numbers.copied().unwrap_or_default();
        let some = |value: f64| (numbers.tokens > 0 && value.is_finite()).then_some(value);
        Self {
            tokens: numbers.tokens,
            nll: Nll {
                base: some(numbers.nll_base),
                open: some(numbers.nll_open),
                gated: some(numbers.nll_gated),
            },
            gated_cost: some(numbers.gated_cost),
            open_rate: some(numbers.open_rate),
            diff_rate: some(numbers.diff_rate),
            diff_pick_rate: some(numbers.diff_pick_rate),
        }
    }
}

impl From<&proto::EvaluateDone> for EvalReport {
    fn from(done: &proto::EvaluateDone) -> Self {
        Self {
            all: EvaluationReport::of(done.all.as_ref()),
            own: EvaluationReport::of(done.own.as_ref()),
            replies: EvaluationReport::of(done.replies.as_ref()),
        }
    }
}

impl From<&proto::Adapter> for AdapterReport {
    fn from(adapter: &proto::Adapter) -> Self {
        let rows = adapter.thresholds.iter();
        Self {
            version: adapter.version,
            in_use: adapter.in_use,
            created: adapter.created,
            variant: adapter.variant.clone(),
            model: adapter.model.clone(),
            lesson_tokens: adapter.lesson_tokens,
            parameters: adapter.parameters,
            memory_rows: adapter.memory_rows,
            parameters_percent: adapter.parameters_percent,
            held_out: adapter.held_out.as_ref().map(|numbers| EvaluationReport::of(Some(numbers))),
            threshold: adapter.threshold,
            thresholds: rows
                .map(|row| Threshold { threshold: row.threshold, open_rate: row.open_rate })
                .collect(),
            epochs: adapter.epochs,
            train_seconds: adapter.train_seconds,
            bytes: adapter.bytes,
            note: adapter.note.clone(),
        }
    }
}

/// An entry of `adapter log --json`: nats per token of gated cost, below 0 is better.
#[derive(Debug, Serialize)]
pub(crate) struct DecisionReport {
    created: i64,
    version: u64,
    against: u64,
    verdict: String,
    by: String,
    turns: u64,
    recent_tokens: u64,
    difference: f64,
    upper: f64,
    earlier: f64,
    generic: f64,
}

impl From<&proto::AdapterDecision> for DecisionReport {
    fn from(d: &proto::AdapterDecision) -> Self {
        Self {
            created: d.created,
            version: d.version,
            against: d.against,
            verdict: d.verdict.clone(),
            by: d.by.clone(),
            turns: d.turns,
            recent_tokens: d.recent_tokens,
            difference: d.difference,
            upper: d.upper,
            earlier: d.earlier,
            generic: d.generic,
        }
    }
}

/// One line of `adapter log`.
pub(crate) fn decision_line(d: &proto::AdapterDecision) -> String {
    let at = UNIX_EPOCH + Duration::from_secs(u64::try_from(d.created).unwrap_or_default());
    let name = |version: u64| if version == 0 { "base".to_owned() } else { format!("version {version}") };
    let line = format!(
        "{}  {} {} by {}, against {}",
        humantime::format_rfc3339_seconds(at),
        name(d.version),
        d.verdict,
        d.by,
        name(d.against)
    );
    if d.turns == 0 {
        return line;
    }
    format!(
        "{line}: {:+.4} nats per token (at most {:+.4}) on {} recent tokens of {} held-out turns; earlier ones {:+.2} %, generic text {:+.4} nats",
        d.difference,
        d.upper,
        d.recent_tokens,
        d.turns,
        100.0 * d.earlier,
        d.generic
    )
}

/// What was learned from, as `adapter sources --json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct SourceReport<'a> {
    /// Number of a conversation; null for a file.
    conversation: Option<i64>,
    /// Its title, or the file's name.
    name: &'a str,
    /// Unix seconds.
    created: i64,
    lessons: u32,
    tokens: u64,
}

impl<'a> From<&'a proto::LessonSource> for SourceReport<'a> {
    fn from(s: &'a proto::LessonSource) -> Self {
        Self {
            conversation: Some(s.conversation).filter(|id| *id != 0),
            name: &s.name,
            created: s.created,
            lessons: s.lessons,
            tokens: s.tokens,
        }
    }
}

/// One line of `adapter sources`.
pub(crate) fn source_line(source: &proto::LessonSource) -> String {
    let which = if source.conversation == 0 {
        format!("file  {}", source.name)
    } else {
        format!("{:>4}  {}", source.conversation, source.name)
    };
    format!("{which}  ({} turns, {} tokens)", source.lessons, source.tokens)
}

/// One line of `adapter list`.
pub(crate) fn adapter_line(adapter: &proto::Adapter) -> String {
    let mark = if adapter.in_use { '*' } else { ' ' };
    if adapter.version == 0 {
        return format!("{mark} 0  base");
    }
    let numbers = adapter.held_out.as_ref().map_or_else(String::new, |n| {
        format!(
            "  held out: base {:.3}, gated {:.3} nats per token, {:.0} % open",
            n.nll_base,
            n.nll_gated,
            n.open_rate * 100.0
        )
    });
    let learned = match (adapter.lesson_tokens, adapter.note.as_str()) {
        // A starter: nothing was trained, it says itself what it is.
        (0, note) if !note.is_empty() => note.to_owned(),
        (tokens, _) => format!("{tokens} lesson tokens"),
    };
    format!("{mark} {}  {}  {learned}{numbers}", adapter.version, adapter.variant)
}

/// All there is to say about one version.
pub(crate) fn adapter_page(adapter: &proto::Adapter) -> String {
    if adapter.version == 0 {
        return "version 0 (base): every token comes from the backbone".to_owned();
    }
    let mut page = vec![
        format!("version        {}{}", adapter.version, if adapter.in_use { " (in use)" } else { "" }),
        format!("variant        {}", adapter.variant),
        format!("model          {}", adapter.model),
        format!("lesson tokens  {}", adapter.lesson_tokens),
        format!(
            "parameters     {} ({:.2} % of the backbone)",
            adapter.parameters, adapter.parameters_percent
        ),
        format!("memory         {} rows", adapter.memory_rows),
        format!("training       {} epochs, {:.1} s", adapter.epochs, adapter.train_seconds),
        format!("size           {} bytes", adapter.bytes),
    ];
    if let Some(numbers) = &adapter.held_out {
        page.push(format!("held out       {}", evaluation_line(numbers)));
    }
    page.push(format!("threshold      {:.3}", adapter.threshold));
    for row in &adapter.thresholds {
        page.push(format!("  at {:.3}     {:.1} % open", row.threshold, row.open_rate * 100.0));
    }
    if !adapter.note.is_empty() {
        page.push(format!("note           {}", adapter.note));
    }
    page.join("\n")
}

/// The numbers of one part in a line.
pub(crate) fn evaluation_line(n: &proto::Evaluation) -> String {
    if n.tokens == 0 {
        return "no tokens".to_owned();
    }
    format!(
        "{} tokens; nats per token: base {:.4}, open {:.4}, gated {:.4}; gated cost {:.4}; \
         open {:.1} %, differs {:.1} %, differs and picked {:.1} %",
        n.tokens,
        n.nll_base,
        n.nll_open,
        n.nll_gated,
        n.gated_cost,
        n.open_rate * 100.0,
        n.diff_rate * 100.0,
        n.diff_pick_rate * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eval_is_one_object_of_three_parts() {
        let part = proto::Evaluation {
            tokens: 8,
            nll_base: 3.5,
            nll_open: 3.25,
            nll_gated: 3.0,
            gated_cost: 3.125,
            open_rate: 0.5,
            diff_rate: 0.25,
            diff_pick_rate: 0.125,
        };
        let empty = proto::Evaluation { nll_base: f64::NAN, ..Default::default() };
        let done = proto::EvaluateDone { all: Some(part), own: Some(empty), ..Default::default() };
        let full = r#"{"tokens":8,"nll":{"base":3.5,"open":3.25,"gated":3.0},"gated_cost":3.125,"open_rate":0.5,"diff_rate":0.25,"diff_pick_rate":0.125}"#;
        let none = r#"{"tokens":0,"nll":{"base":null,"open":null,"gated":null},"gated_cost":null,"open_rate":null,"diff_rate":null,"diff_pick_rate":null}"#;
        let text = serde_json::to_string(&EvalReport::from(&done)).unwrap();
        assert_eq!(text, format!(r#"{{"all":{full},"own":{none},"replies":{none}}}"#));
    }

    #[test]
    fn a_list_marks_the_version_in_use() {
        let mut adapter = proto::Adapter { version: 3, variant: "spa".into(), ..Default::default() };
        assert_eq!(adapter_line(&adapter), "  3  spa  0 lesson tokens");
        adapter.in_use = true;
        assert!(adapter_line(&adapter).starts_with("* 3"));
        adapter.note = "your memory".into();
        assert_eq!(adapter_line(&adapter), "* 3  spa  your memory");
    }
}
