//! The live guard (method, sections 5 and 8): what the version in use costs on new turns of the chat, measured before they
//! become lessons of a training. Where it costs more than base over 2,000 tokens it is rolled back.

use std::sync::Arc;

use aside_adapter::{Adapter, LAMBDA, evaluate};
use aside_daemon_api::fault::{Fault, codes};
use serde::{Deserialize, Serialize};

use super::report::Compared;
use super::{Context, job, memory, replay};
use crate::kit::Kit;
use crate::vault::Vault;

/// Tokens over which it is judged.
const WINDOW: u64 = 2_000;
/// Tokens measured at once, the newest ones.
const AT_ONCE: usize = 4_000;
/// Where it stands, in the vault.
const STANDING: &str = "guard";

/// Sums since the last judgement.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Standing {
    version: u64,
    /// Newest lesson that was measured.
    lesson: i64,
    tokens: u64,
    /// Nats: gated cost of the version, loss of base.
    cost: f64,
    base: f64,
}

impl Standing {
    /// With more tokens, and whether that makes it worse than base; a full window begins anew.
    fn with(mut self, tokens: u64, cost: f64, base: f64) -> (Self, Option<Compared>) {
        self.tokens += tokens;
        self.cost += cost;
        self.base += base;
        if self.tokens < WINDOW {
            return (self, None);
        }
        let worse = (self.cost > self.base).then(|| Compared {
            recent_tokens: self.tokens,
            difference: (self.cost - self.base) / self.tokens as f64,
            ..Compared::default()
        });
        (Self { tokens: 0, cost: 0.0, base: 0.0, ..self }, worse)
    }
}

/// Measures new turns; whether the version was rolled back.
///
/// # Errors
/// Those of the vault.
pub(super) async fn watch(context: &Context, kit: Arc<Kit>) -> Result<bool, Fault> {
    let (vault, budget) = (context.vault.clone(), context.settings.learning.budget);
    let measured = tokio::task::spawn_blocking(move || measure(&vault, &kit, budget)).await;
    let measured = measured.map_err(|_| Fault::internal("the guard ended unexpectedly"))?;
    measured.map_err(|why| Fault::new(codes::DAMAGED, why).repair("aside doctor"))
}

fn measure(vault: &Vault, kit: &Kit, budget: f32) -> Result<bool, String> {
    let why = |e: &dyn std::fmt::Display| e.to_string();
    let known: Standing = vault
        .meta(STANDING)
        .map_err(|e| why(&e))?
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let Some((row, bytes)) = vault.adapter_in_use().map_err(|e| why(&e))?.adapter else { return Ok(false) };
    if row.model != kit.model() {
        return Ok(false);
    }
    // Another version begins with what comes after its training.
    let known = match known.version == row.version {
        true => known,
        false => Standing { version: row.version, lesson: row.watermark, ..Standing::default() },
    };
    let mut new = vault.lessons_since(row.version, kit.model()).map_err(|e| why(&e))?;
    new.retain(|l| l.chat && replay::judged(l) && l.id > known.lesson);
    let Some(newest) = new.iter().map(|l| l.id).max() else { return Ok(false) };
    let Ok(adapter) = Adapter::from_bytes(&bytes) else { return Ok(false) };
    let mut adapter = adapter.within(budget);
    memory::catch_up(&mut adapter, vault, row.version, kit.model()).map_err(|e| why(&e))?;
    let lessons = vault.lessons(kit.model(), &replay::newest(&new, AT_ONCE)).map_err(|e| why(&e))?;
    let turns = job::turns(kit.layout(), &lessons).map_err(|e| why(&e))?;
    let found = evaluate(Some(&adapter), kit.head(), &turns, LAMBDA).map_err(|e| why(&e))?;
    let sum = |mean: f64| mean * found.tokens as f64;
    let (standing, worse) =
        Standing { lesson: newest, ..known }.with(found.tokens, sum(found.gated_cost), sum(found.nll_base));
    let bytes = serde_json::to_vec(&standing).map_err(|e| why(&e))?;
    vault.put_meta(STANDING, &bytes).map_err(|e| why(&e))?;
    let Some(worse) = worse else { return Ok(false) };
    let numbers = serde_json::to_string(&worse).map_err(|e| why(&e))?;
    let back = vault.use_version(None, "guard", &numbers, crate::now()).map_err(|e| why(&e))?;
    tracing::warn!(from = row.version, to = back, "a version that costs more than base was rolled back");
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_costs_more_than_base_over_a_window_is_noticed_and_a_window_begins_anew() {
        let start = Standing { version: 3, lesson: 9, ..Standing::default() };
        let (half, nothing) = start.with(1_000, 3_000.0, 2_000.0);
        assert_eq!((half.tokens, nothing), (1_000, None));
        let (fresh, worse) = half.with(1_000, 2_000.0, 2_000.0);
        assert_eq!((fresh, worse.map(|w| (w.recent_tokens, w.difference))), (start, Some((2_000, 0.5))));
        let (fresh, fine) = half.with(1_000, 1_000.0, 2_000.0);
        assert_eq!((fresh, fine), (start, None));
    }
}
