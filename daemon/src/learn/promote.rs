//! Decides what is used: the candidate against what is in use, on held-out lessons (method, section 5).

use std::sync::Arc;

use aside_adapter::{Adapter, Bar, LAMBDA, Verdict, compare, decide, pairs};
use aside_daemon_api::fault::{Fault, codes};

use super::report::Compared;
use super::{Context, job};
use crate::faults::blocking;
use crate::kit::Kit;
use crate::vault::{Decision, LessonRow};

/// Part of the lessons that only measures.
const HELD_OUT: u8 = 2;

/// Compares and decides; both with their gates held to the budget, as they serve.
///
/// # Errors
/// Those of the vault; `damaged` when the candidate cannot be read.
pub(super) async fn decide_on(
    context: &Context,
    kit: Arc<Kit>,
    candidate: &[u8],
    bar: Bar,
) -> Result<Decision, Fault> {
    let (vault, model) = (context.vault.clone(), kit.model().to_owned());
    let read = move || Ok((vault.lessons_with_states(&model)?, vault.adapter_in_use()?.adapter));
    let (lessons, in_use) = blocking(read).await?;
    let (candidate, budget) = (candidate.to_vec(), context.settings.learning.budget);
    let work = move || -> Result<Decision, String> {
        let read =
            |bytes: &[u8]| Adapter::from_bytes(bytes).map(|a| a.within(budget)).map_err(|e| e.to_string());
        let candidate = read(&candidate)?;
        // What belongs to another backbone cannot serve: base does.
        let in_use = in_use.filter(|(row, _)| row.model == kit.model()).map(|(_, bytes)| read(&bytes));
        let in_use = in_use.transpose()?;
        let held_out = lessons.iter().filter(|l: &&LessonRow| l.part == HELD_OUT);
        let turns = job::turns(kit.layout(), held_out).map_err(|e| e.to_string())?;
        let pairs =
            pairs(&candidate, in_use.as_ref(), kit.head(), &turns, LAMBDA).map_err(|e| e.to_string())?;
        let comparison = compare(&pairs, 0);
        let verdict = decide(&comparison, bar);
        let numbers = serde_json::to_string(&Compared::from(&comparison)).map_err(|e| e.to_string())?;
        let by = if bar == Bar::Asked { "you" } else { "idle" };
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
