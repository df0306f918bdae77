//! Decides what is used: the candidate against what is in use, on held-out lessons (method, section 5).

use std::sync::Arc;

use aside_adapter::{Adapter, Bar, LAMBDA, Verdict, compare, decide, pairs as score};
use aside_daemon_api::fault::{Fault, codes};

use super::memory::RememberError;
use super::report::Compared;
use super::{Context, generic, job, memory, replay};
use crate::kit::Kit;
use crate::vault::Decision;

/// Part of the lessons that only measures.
const HELD_OUT: u8 = 2;

/// Compares and decides; both with every lesson in their memory, as they serve, but without the budget: it limits both
/// alike, and a candidate must not look better for spending it elsewhere.
///
/// # Errors
/// Those of the vault; `damaged` when the candidate cannot be read.
pub(super) async fn decide_on(
    context: &Context,
    kit: Arc<Kit>,
    candidate: &[u8],
    bar: Bar,
) -> Result<Decision, Fault> {
    let (vault, candidate) = (context.vault.clone(), candidate.to_vec());
    let work = move || -> Result<Decision, String> {
        let why = |e: &dyn std::fmt::Display| e.to_string();
        let read = |bytes: &[u8]| Adapter::from_bytes(bytes).map_err(|e| why(&e));
        let candidate = read(&candidate)?;
        // What belongs to another backbone cannot serve: base does.
        let found = vault.adapter_in_use().map_err(|e| why(&e))?.adapter;
        let found = found.filter(|(row, _)| row.model == kit.model());
        // Nor can what an older build wrote and this one cannot read.
        let mut in_use = found.as_ref().and_then(|(_, bytes)| read(bytes).ok());
        if let Some((in_use, (row, _))) = in_use.as_mut().zip(found.as_ref()) {
            memory::catch_up(in_use, &vault, row.version, kit.model()).map_err(|e| why(&e))?;
        }
        let mut sizes = vault.lesson_sizes(kit.model()).map_err(|e| why(&e))?;
        sizes.retain(|l| l.part == HELD_OUT && replay::judged(l));
        let [.., room] = replay::ROOM;
        let held_out = vault.lessons(kit.model(), &replay::newest(&sizes, room)).map_err(|e| why(&e))?;
        let turns = job::turns(kit.layout(), &held_out).map_err(|e| why(&e))?;
        let trained = found.as_ref().map_or(0, |(row, _)| row.watermark);
        let known = held_out.iter().filter(|l| !l.targets.is_empty()).map(|l| l.id <= trained);
        let pairs = score(&candidate, in_use.as_ref(), kit.head(), turns.iter().zip(known), LAMBDA);
        let pairs = pairs.map_err(|e| why(&e))?;
        let generic =
            generic::measuring(&generic::turns::<RememberError>(&vault, &kit).map_err(|e| why(&e))?);
        let generic = generic.iter().map(|turn| (turn, true));
        let generic = score(&candidate, in_use.as_ref(), kit.head(), generic, LAMBDA);
        let comparison = compare(&pairs, &generic.map_err(|e| why(&e))?, 0);
        let verdict = decide(&comparison, bar);
        let numbers = serde_json::to_string(&Compared::from(&comparison)).map_err(|e| e.to_string())?;
        let by = if bar == Bar::Sure { "idle" } else { "you" };
        Ok(Decision {
            promote: verdict == Verdict::Promote,
            verdict: verdict.as_str().to_owned(),
            by: by.to_owned(),
            numbers,
        })
    };
    let decided = tokio::task::spawn_blocking(work).await;
    let decided = decided.map_err(|_| Fault::internal("comparing the candidate ended unexpectedly"))?;
    decided.map_err(|why| Fault::new(codes::DAMAGED, why).repair("aside doctor"))
}
