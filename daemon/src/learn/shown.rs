//! Adapter versions as the front ends see them; version 0 is base.

use aside_daemon_api::proto::{Adapter, AdapterDecision, ThresholdRow};

use super::report::{Compared, Numbers};
use crate::vault::{AdapterRow, DecisionRow};

/// The backbone alone.
pub(crate) fn base(in_use: u64) -> Adapter {
    Adapter {
        in_use: in_use == 0,
        variant: "base".into(),
        note: "the backbone alone".into(),
        ..Adapter::default()
    }
}

/// A stored version; `parameters` of the backbone give the share, 0 where they are unknown.
pub(crate) fn adapter(row: &AdapterRow, in_use: u64, parameters: u64) -> Adapter {
    let numbers: Numbers = serde_json::from_str(&row.numbers).unwrap_or_default();
    let percent = if parameters == 0 { 0.0 } else { 100.0 * numbers.parameters as f64 / parameters as f64 };
    Adapter {
        version: row.version,
        in_use: row.version == in_use,
        created: row.created,
        variant: row.variant.clone(),
        model: row.model.clone(),
        lesson_tokens: row.lesson_tokens,
        parameters: numbers.parameters,
        memory_rows: numbers.memory_rows,
        parameters_percent: percent,
        held_out: numbers.held_out.map(Into::into),
        bytes: row.size,
        note: row.note.clone(),
        thresholds: numbers
            .table
            .iter()
            .map(|(threshold, open_rate)| ThresholdRow { threshold: *threshold, open_rate: *open_rate })
            .collect(),
        threshold: numbers.threshold,
        train_seconds: numbers.train_seconds,
        epochs: numbers.epochs,
    }
}

/// A decision with what it was decided on.
pub(crate) fn decision(row: &DecisionRow) -> AdapterDecision {
    let numbers: Compared = serde_json::from_str(&row.numbers).unwrap_or_default();
    AdapterDecision {
        created: row.created,
        version: row.version,
        against: row.against,
        verdict: row.verdict.clone(),
        by: row.by.clone(),
        turns: numbers.turns,
        recent_tokens: numbers.recent_tokens,
        difference: numbers.difference,
        upper: numbers.upper,
        earlier: numbers.earlier,
        generic: numbers.generic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_version_are_shown_and_unknown_ones_are_nothing() {
        let row = AdapterRow {
            version: 3,
            parent: 0,
            created: 1,
            variant: "spa".into(),
            model: "m".into(),
            size: 9,
            lesson_tokens: 8,
            watermark: 0,
            numbers: r#"{"held_out":{"tokens":5,"nll_base":2.0},"epochs":4,"parameters":50,"threshold":0.6,"table":[[0.5,0.3]]}"#.into(),
            note: String::new(),
        };
        let shown = adapter(&row, 3, 1000);
        assert!(shown.in_use && shown.epochs == 4 && shown.held_out.is_some_and(|e| e.tokens == 5));
        assert!((shown.parameters_percent - 5.0).abs() < 1e-9);
        assert_eq!(shown.thresholds.len(), 1);
        let bare = adapter(&AdapterRow { numbers: "?".into(), ..row }, 0, 0);
        assert!(!bare.in_use && bare.held_out.is_none() && bare.parameters_percent == 0.0);
    }
}
