//! Adapter versions as the front ends see them; version 0 is base.

use aside_daemon_api::fault::Fault;
use aside_daemon_api::proto::{Adapter, Evaluation, ListAdaptersReply, ThresholdRow};
use serde::Deserialize;

use super::faults::blocking;
use super::hub::Hub;
use crate::vault::AdapterRow;

/// What was measured of a version, as the trainer reported it; absent parts are unknown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Numbers {
    held_out: Option<Measured>,
    epochs: u32,
    parameters: u64,
    threshold: f64,
    table: Vec<(f64, f64)>,
    train_seconds: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Measured {
    tokens: u64,
    nll_base: f64,
    nll_open: f64,
    nll_gated: f64,
    gated_cost: f64,
    open_rate: f64,
    diff_rate: f64,
    diff_pick_rate: f64,
}

/// All versions, base first.
pub(super) async fn list(hub: &Hub) -> Result<ListAdaptersReply, Fault> {
    let vault = hub.open_vault()?;
    let (rows, in_use) = blocking(move || Ok((vault.adapters()?, vault.version_in_use()?))).await?;
    let parameters = backbone_parameters(hub);
    let versions = rows.iter().map(|row| adapter(row, in_use, parameters));
    Ok(ListAdaptersReply { adapters: [base(in_use)].into_iter().chain(versions).collect() })
}

/// One version; 0 is the one in use.
pub(super) async fn show(hub: &Hub, version: u64) -> Result<Adapter, Fault> {
    let vault = hub.open_vault()?;
    let (row, in_use) = blocking(move || {
        let in_use = vault.version_in_use()?;
        let version = if version == 0 { in_use } else { version };
        let row = if version == 0 { None } else { Some(vault.adapter(version)?.0) };
        Ok((row, in_use))
    })
    .await?;
    Ok(row.map_or_else(|| base(in_use), |row| adapter(&row, in_use, backbone_parameters(hub))))
}

/// Puts a version in use: the next answer comes from it.
pub(super) async fn rollback(hub: &Hub, version: Option<u64>) -> Result<Adapter, Fault> {
    let vault = hub.open_vault()?;
    let now = blocking(move || {
        // One that does not verify must not be put in use.
        if let Some(version) = version.filter(|version| *version > 0) {
            vault.adapter(version)?;
        }
        vault.use_version(version)
    })
    .await?;
    hub.changed();
    if now == 0 { Ok(base(0)) } else { show(hub, now).await }
}

fn backbone_parameters(hub: &Hub) -> u64 {
    hub.cloud.view().borrow().model.as_ref().map_or(0, |model| model.parameters)
}

fn base(in_use: u64) -> Adapter {
    Adapter {
        in_use: in_use == 0,
        variant: "base".into(),
        note: "the backbone alone".into(),
        ..Adapter::default()
    }
}

/// A stored version; `parameters` of the backbone give the share, 0 where they are unknown.
pub(super) fn adapter(row: &AdapterRow, in_use: u64, parameters: u64) -> Adapter {
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
        parameters_percent: percent,
        held_out: numbers.held_out.map(evaluation),
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

fn evaluation(m: Measured) -> Evaluation {
    Evaluation {
        tokens: m.tokens,
        nll_base: m.nll_base,
        nll_open: m.nll_open,
        nll_gated: m.nll_gated,
        gated_cost: m.gated_cost,
        open_rate: m.open_rate,
        diff_rate: m.diff_rate,
        diff_pick_rate: m.diff_pick_rate,
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
