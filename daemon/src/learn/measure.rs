//! Measures a version on a file: nothing of the file is kept (method, section 7).

use std::sync::Arc;

use aside_adapter::{Adapter, Evaluation, LAMBDA, Turn, evaluate as score};
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{
    EvaluateDone, EvaluateEvent, EvaluateRequest, LearnProgress, LearningState, evaluate_event::Event,
};

use super::encode::EncodedTurn;
use super::import::{self, Line, Role};
use super::intake::Hashes;
use super::report::Measured;
use super::{Context, Events, fetch, job};
use crate::faults::blocking;
use crate::kit::Kit;

/// Sums by who said it: the user, the model.
type Sums = [Evaluation; 2];

/// See [`super::Learner::evaluate`].
pub(super) async fn evaluate(
    context: &Context,
    request: EvaluateRequest,
    events: &Events<EvaluateEvent>,
) -> Result<(), Fault> {
    let EvaluateRequest { name, content, version } = request;
    let kit = context.cloud.connected(fetch::PATIENCE).await?.kit;
    let adapter = Arc::new(adapter(context, &kit, version).await?);
    let import = import::read(&name, &content).map_err(|e| Fault::new(codes::BAD_REQUEST, e.to_string()))?;
    let total = import.conversations.len() as u64;
    let mut sums = Sums::default();
    let (mut measured, mut learned, mut refused) = (0, 0, 0);
    for (done, lines) in (0..).zip(import.conversations) {
        let mut progress =
            LearnProgress { done, total, detail: "measuring".into(), ..LearnProgress::default() };
        progress.set_phase(LearningState::Encoding);
        send(events, Event::Progress(progress)).await;
        let Some(turns) = fetch::states(context, &lines, Vec::new()).await? else {
            refused += 1;
            continue;
        };
        measured += turns.len() as u32;
        let contents = Hashes::of(&lines).contents;
        let contents: Vec<_> = turns.iter().filter_map(|t| contents.get(t.turn).cloned()).collect();
        let vault = context.vault.clone();
        learned += blocking(move || vault.turns_known(&contents)).await? as u32;
        let (kit, adapter) = (Arc::clone(&kit), Arc::clone(&adapter));
        let scored = tokio::task::spawn_blocking(move || {
            conversation(&kit, adapter.as_ref().as_ref(), &lines, &turns)
        });
        let scored = scored.await.map_err(|_| Fault::internal("measuring ended unexpectedly"))??;
        for (sum, more) in sums.iter_mut().zip(scored) {
            *sum = sum.joined(more);
        }
    }
    let [own, replies] = sums;
    let shown = |e: Evaluation| Some(Measured::from(&e).into());
    let (all, own, replies) = (shown(own.joined(replies)), shown(own), shown(replies));
    let done = EvaluateDone { all, own, replies, turns: measured, learned, refused };
    send(events, Event::Done(done)).await;
    Ok(())
}

async fn send(events: &Events<EvaluateEvent>, event: Event) {
    // A front end that is gone is noticed by the one who waits for that.
    let _ = events.send(Ok(EvaluateEvent { event: Some(event) })).await;
}

/// The version's networks with the gate held to the budget, as they serve; `None` is base.
async fn adapter(context: &Context, kit: &Kit, version: u64) -> Result<Option<Adapter>, Fault> {
    let vault = context.vault.clone();
    let found = blocking(move || match version {
        0 => Ok(vault.adapter_in_use()?.adapter),
        version => vault.adapter(version).map(Some),
    });
    let Some((row, bytes)) = found.await? else { return Ok(None) };
    if row.model != kit.model() {
        let what = format!("version {} was learned with another backbone than the one in use", row.version);
        return Err(Fault::new(codes::BAD_REQUEST, what).repair("aside learn --now"));
    }
    let adapter = Adapter::from_bytes(&bytes)
        .map_err(|e| Fault::new(codes::DAMAGED, e.to_string()).repair("aside adapter rollback"))?;
    Ok(Some(adapter.within(context.settings.learning.budget)))
}

fn conversation(
    kit: &Kit,
    adapter: Option<&Adapter>,
    lines: &[Line],
    turns: &[EncodedTurn],
) -> Result<Sums, Fault> {
    let internal = |e: &dyn std::fmt::Display| Fault::internal(e.to_string());
    let mut parts: [Vec<Turn>; 2] = Default::default();
    for turn in turns {
        let own = lines.get(turn.turn).is_some_and(|l| l.role == Role::User);
        let [users, models] = &mut parts;
        let part = if own { users } else { models };
        part.push(job::measured(kit.layout(), own, turn).map_err(|e| internal(&e))?);
    }
    let mut sums = Sums::default();
    for (sum, part) in sums.iter_mut().zip(&parts) {
        *sum = score(adapter, kit.head(), part, LAMBDA).map_err(|e| internal(&e))?;
    }
    Ok(sums)
}
