//! One learning from beginning to end: lessons in, states fetched, a version trained, stored and used.

use std::str::FromStr;
use std::sync::Arc;

use aside_adapter::{Adapter, Bar, Variant};
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{LearnDone, LearnRequest, LearningState};
use tokio::sync::mpsc;

use super::begin::begin;
use super::prepare::{Prepared, complete, prepare};
use super::promote::decide_on;
use super::sink::Sink;
use super::trainer::{Event, Order, TrainError, Trained, train};
use super::{Context, fetch, generic, guard, intake, shown};
use crate::faults::blocking;
use crate::kit::Kit;
use crate::vault::{AdapterRow, Checkpoint, Decision, NewAdapter};

/// New tokens from which it learns by itself (method, section 5).
const ENOUGH: u64 = 500;
/// Reports of the trainer that may wait.
const EVENTS: usize = 4;

/// See [`super::Learner::learn`].
pub(super) async fn learn(
    context: &Context,
    request: LearnRequest,
    bar: Bar,
    sink: &Sink<'_>,
) -> Result<LearnDone, Fault> {
    learn_or_begin(context, request, bar, sink).await.map(|(done, _)| done)
}

/// The same, and whether a starter began to serve instead.
pub(super) async fn learn_or_begin(
    context: &Context,
    request: LearnRequest,
    bar: Bar,
    sink: &Sink<'_>,
) -> Result<(LearnDone, bool), Fault> {
    let done = train_and_decide(context, request, bar, sink).await?;
    let kit = context.cloud.connected(fetch::PATIENCE).await?.kit;
    let begun = !done.promoted && begin(context, kit).await?;
    Ok((done, begun))
}

async fn train_and_decide(
    context: &Context,
    request: LearnRequest,
    bar: Bar,
    sink: &Sink<'_>,
) -> Result<LearnDone, Fault> {
    let variant = wanted(context, &request.variant)?;
    let total = request.files.len() as u64;
    for (done, file) in (0..).zip(request.files) {
        sink.progress(LearningState::Importing, done, total, &file.name);
        sink.imported(intake::import(&context.vault, file).await?).await;
    }
    intake::chats(&context.vault).await?;
    let connected = context.cloud.connected(fetch::PATIENCE).await?;
    let (kit, model) = (connected.kit, connected.model);
    let refused = fetch::missing(context, kit.model(), sink).await?;
    let refused = u32::try_from(refused).unwrap_or(u32::MAX);
    guard::watch(context, Arc::clone(&kit)).await?;
    let vault = context.vault.clone();
    let tainted = blocking(move || vault.tainted()).await?;
    let bar = if tainted { Bar::Forgetting } else { bar };
    if let Some(why) = nothing_new(context, &kit, variant, request.seed, bar).await? {
        return Ok(LearnDone { why, refused, ..LearnDone::default() });
    }
    if let Err(fault) = generic::fetch(context, &kit).await {
        // What is there of it serves; lessons are not held up for it.
        tracing::warn!(%fault, "generic text has no states yet");
    }
    let prepared = prepare(context, Arc::clone(&kit), variant, request.seed, bar).await?;
    let Some(prepared) = prepared else {
        let mut why = "there is no lesson yet; chat a little, or name a file".to_owned();
        if tainted {
            let vault = context.vault.clone();
            blocking(move || vault.drop_tainted(crate::now())).await?;
            why = "nothing is left to learn from; base answers".to_owned();
        }
        return Ok(LearnDone { why, refused, ..LearnDone::default() });
    };
    let trained = match supervised(context, &prepared, sink).await {
        Ok(trained) => trained,
        Err(error) => return Err(Fault::internal(error.to_string()).repair("aside learn --now")),
    };
    let trained = complete(context, kit.model(), &prepared, trained).await?;
    let decision = decide_on(context, Arc::clone(&kit), &trained.adapter, bar).await?;
    let promoted = decision.promote;
    let why = if promoted { String::new() } else { decision.verdict.clone() };
    let (adapter, in_use) = store(context, &kit, prepared, trained, decision).await?;
    let adapter = Some(shown::adapter(&adapter, in_use, model.parameters));
    Ok(LearnDone { adapter, trained: true, promoted, why, refused })
}

/// The variant that is asked for; nothing is what the settings say.
pub(super) fn wanted(context: &Context, name: &str) -> Result<Variant, Fault> {
    let name = if name.is_empty() { context.settings.chat.variant.as_str() } else { name };
    // Whoever chats with base alone still learns for the default.
    let variant = Variant::from_str(name).map_err(|why| Fault::new(codes::BAD_REQUEST, why.to_string()))?;
    Ok(if variant == Variant::Base { Variant::Spa } else { variant })
}

/// Why there is nothing to train, if so: the version in use has seen every lesson.
async fn nothing_new(
    context: &Context,
    kit: &Kit,
    variant: Variant,
    seed: Option<u64>,
    bar: Bar,
) -> Result<Option<String>, Fault> {
    let (vault, model) = (context.vault.clone(), kit.model().to_owned());
    let read = move || {
        Ok((
            vault.lesson_totals(&model)?.pending_tokens,
            vault.newest_lesson()?,
            vault.adapter_in_use()?.adapter,
        ))
    };
    let (pending, newest, in_use) = blocking(read).await?;
    if bar == Bar::Forgetting {
        return Ok(None);
    }
    if bar == Bar::Sure && pending < ENOUGH {
        return Ok(Some(format!("{pending} of {ENOUGH} new tokens")));
    }
    // What this build cannot read, an older one's, is learned anew.
    let Some((row, _)) = in_use.filter(|(_, bytes)| Adapter::from_bytes(bytes).is_ok()) else {
        return Ok(None);
    };
    let serves = row.variant.parse().is_ok_and(|trained| variant.served_by(trained));
    let seen = row.watermark >= newest && seed.is_none() && serves && row.model == kit.model();
    Ok(seen.then(|| format!("version {} has seen every lesson", row.version)))
}

/// Trains in the child, from its checkpoint if there is one.
async fn supervised(context: &Context, prepared: &Prepared, sink: &Sink<'_>) -> Result<Trained, TrainError> {
    let order = Order {
        binary: &context.executable,
        head: &prepared.head,
        job: &prepared.job,
        resume: prepared.resume.as_deref(),
        threads: context.settings.learning.threads,
    };
    let (sender, receiver) = mpsc::channel(EVENTS);
    let (trained, ()) = tokio::join!(
        train(order, context.answers.clone(), sender),
        follow(receiver, context, prepared, sink)
    );
    trained
}

/// Shows progress and keeps checkpoints until the trainer is done.
async fn follow(mut events: mpsc::Receiver<Event>, context: &Context, prepared: &Prepared, sink: &Sink<'_>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Progress(report) => sink.report(LearningState::Training, report),
            Event::Checkpoint(bytes) => {
                let Prepared { id, watermark, seed, variant, .. } = prepared;
                let (job, variant) = (id.clone(), variant.as_str().to_owned());
                let checkpoint = Checkpoint { job, watermark: *watermark, seed: *seed, variant, bytes };
                let vault = context.vault.clone();
                if let Err(fault) = blocking(move || vault.put_checkpoint(&checkpoint)).await {
                    tracing::warn!(%fault, "a checkpoint could not be kept");
                }
            }
        }
    }
}

/// Stores the version with the decision about it, in one commit; its row and what is in use now.
async fn store(
    context: &Context,
    kit: &Kit,
    prepared: Prepared,
    trained: Trained,
    decision: Decision,
) -> Result<(AdapterRow, u64), Fault> {
    let numbers = serde_json::to_string(&trained.numbers).map_err(|e| Fault::internal(e.to_string()))?;
    let (vault, model) = (context.vault.clone(), kit.model().to_owned());
    blocking(move || {
        let new = NewAdapter {
            parent: vault.version_in_use()?,
            variant: prepared.variant.as_str().to_owned(),
            model,
            bytes: trained.adapter,
            lesson_tokens: prepared.tokens,
            watermark: prepared.watermark,
            numbers,
            note: format!("learned by {}", decision.by),
        };
        let version = vault.add_adapter(&new, &decision, crate::now())?;
        Ok((vault.adapter(version)?.0, vault.version_in_use()?))
    })
    .await
}
