//! Before there is a version of one's own: the starter that comes with the backbone, with one's lessons in its memory. It
//! serves once these show that it pays, by the same bar as a version that was learned (method, sections 5 and 8).

use std::sync::Arc;

use aside_adapter::{
    Bar, ENOUGH_TURNS, Evaluation, LAMBDA, Variant, Verdict, compare, decide, evaluate, pairs,
};
use aside_daemon_api::fault::{Fault, codes};

use super::report::{Compared, Numbers};
use super::{Context, job, memory, replay};
use crate::kit::Kit;
use crate::vault::{BEGAN, Decision, NewAdapter, Vault};

/// Tokens measured, the newest ones.
const MEASURED: usize = 10_000;
/// What there must be more of, as a share, before it is measured again: looks at the same turns would once say yes.
const MORE: f64 = 1.2;
/// Tokens at the last look, in the vault, by the backbone's identity.
const LOOKED: &str = "begin.tokens.";
const NOTE: &str = "your lessons' memory, with a gate learned from other people";

/// Puts the starter in use if nothing ever was and it pays beyond doubt; whether it did.
///
/// # Errors
/// Those of the vault.
pub(super) async fn begin(context: &Context, kit: Arc<Kit>) -> Result<bool, Fault> {
    if !super::run::wanted(context, "")?.served_by(Variant::Spa) {
        return Ok(false);
    }
    let vault = context.vault.clone();
    let begun = tokio::task::spawn_blocking(move || try_begin(&vault, &kit)).await;
    let begun = begun.map_err(|_| Fault::internal("measuring the starter ended unexpectedly"))?;
    begun.map_err(|why| Fault::new(codes::DAMAGED, why).repair("aside doctor"))
}

fn try_begin(vault: &Vault, kit: &Kit) -> Result<bool, String> {
    let why = |e: &dyn std::fmt::Display| e.to_string();
    let Some(starter) = kit.starter() else { return Ok(false) };
    if vault.was_anything_used().map_err(|e| why(&e))? {
        return Ok(false);
    }
    let mut sizes = vault.lesson_sizes(kit.model()).map_err(|e| why(&e))?;
    sizes.retain(replay::judged);
    let tokens: u64 = sizes.iter().map(|lesson| lesson.tokens as u64).sum();
    let key = format!("{LOOKED}{}", kit.model());
    let looked = vault.meta(&key).map_err(|e| why(&e))?.and_then(|bytes| bytes.try_into().ok());
    let looked = looked.map_or(0, u64::from_le_bytes);
    if sizes.len() < ENOUGH_TURNS || (tokens as f64) < MORE * looked as f64 {
        return Ok(false);
    }
    let mut adapter = starter.adapter(kit.shape()).map_err(|e| why(&e))?;
    let bytes = adapter.to_bytes().map_err(|e| why(&e))?;
    memory::catch_up(&mut adapter, vault, 0, kit.model()).map_err(|e| why(&e))?;
    let newest = vault.lessons(kit.model(), &replay::newest(&sizes, MEASURED)).map_err(|e| why(&e))?;
    let turns = job::turns(kit.layout(), &newest).map_err(|e| why(&e))?;
    // Nothing of it was fitted to this person and a conversation's own rows do not vote: every turn is one it never saw.
    let measured = pairs(&adapter, None, kit.head(), turns.iter().map(|t| (t, false)), LAMBDA);
    let comparison = compare(&measured.map_err(|e| why(&e))?, &[], 0);
    if decide(&comparison, Bar::Sure) != Verdict::Promote {
        vault.put_meta(&key, &tokens.to_le_bytes()).map_err(|e| why(&e))?;
        tracing::debug!(turns = comparison.turns, upper = comparison.upper, "the starter does not pay yet");
        return Ok(false);
    }
    let held_out: Evaluation = evaluate(Some(&adapter), kit.head(), &turns, LAMBDA).map_err(|e| why(&e))?;
    let numbers = Numbers::of(&adapter, &held_out);
    let new = NewAdapter {
        parent: 0,
        variant: Variant::Spa.as_str().to_owned(),
        model: kit.model().to_owned(),
        bytes,
        lesson_tokens: 0,
        // It knows no lesson by itself: all of them join its memory.
        watermark: 0,
        numbers: serde_json::to_string(&numbers).map_err(|e| why(&e))?,
        note: NOTE.to_owned(),
    };
    let decision = Decision {
        promote: true,
        verdict: BEGAN.to_owned(),
        by: "idle".to_owned(),
        numbers: serde_json::to_string(&Compared::from(&comparison)).map_err(|e| why(&e))?,
    };
    let begun = vault.add_starter(&new, &decision, crate::now()).map_err(|e| why(&e))?;
    tracing::info!(rows = adapter.memory_rows(), begun, "the starter pays");
    Ok(begun)
}
