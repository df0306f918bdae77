//! Fetches the states of lessons that have none of the backbone in use, a conversation at a time: what came is kept,
//! so that a broken link or a kill costs one conversation.

use std::time::Duration;

use aside_cloud_api::link::LinkError;
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::LearningState;

use super::encode::{self, EncodeError, EncodedTurn, encode};
use super::import::{Line, Role};
use super::sink::Sink;
use super::{Context, replay};
use crate::cloud::{Connected, link_fault};
use crate::faults::blocking;
use crate::kit::Kit;
use crate::vault::SourceRow;

/// How long a cloud that is away is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Tries of one conversation.
const TRIES: u32 = 5;
/// Conversations between two looks at the size of the cache.
const EVICT_EVERY: u64 = 64;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(500);

/// The states of `lines`, those of `have` where they fit and the rest over a link that may break and come back. What
/// answers are given under is put before them: the system message of the settings.
///
/// # Errors
/// Those of the cloud; `None` where the conversation does not fit the backbone's chat template.
pub(super) async fn states(
    context: &Context,
    lines: &[Line],
    have: Vec<EncodedTurn>,
) -> Result<Option<Vec<EncodedTurn>>, Fault> {
    let system = context.settings.chat.system.as_deref().filter(|text| !text.is_empty());
    let system = system.filter(|_| lines.first().is_none_or(|line| line.role != Role::System));
    let Some(content) = system else { return under(context, lines, &have).await };
    let mut all = vec![Line { role: Role::System, content: content.to_owned() }];
    all.extend_from_slice(lines);
    let moved = |by: fn(usize) -> usize| move |t: EncodedTurn| EncodedTurn { turn: by(t.turn), ..t };
    let have: Vec<_> = have.into_iter().map(moved(|turn| turn + 1)).collect();
    let turns = under(context, &all, &have).await?;
    Ok(turns.map(|turns| turns.into_iter().map(moved(|turn| turn.saturating_sub(1))).collect()))
}

async fn under(
    context: &Context,
    lines: &[Line],
    have: &[EncodedTurn],
) -> Result<Option<Vec<EncodedTurn>>, Fault> {
    let mut tries = 1;
    loop {
        let Connected { link, kit, .. } = context.cloud.connected(PATIENCE).await?;
        match encode(&link, &kit, lines, have).await {
            Ok(turns) => return Ok(Some(turns)),
            Err(EncodeError::Template(why)) => {
                tracing::info!(why, "a conversation is passed over");
                return Ok(None);
            }
            Err(error) => again(error, &mut tries).await?,
        }
    }
}

/// The states that predict `tokens` from the one after position `from` on, of the backbone that `wanted` is the kit of.
///
/// # Errors
/// Those of the cloud; `cloud-away` where another backbone answers by now.
pub(super) async fn of_tokens(
    context: &Context,
    wanted: &Kit,
    tokens: &[u32],
    from: usize,
) -> Result<Vec<u8>, Fault> {
    let before = tokens.get(..tokens.len().saturating_sub(1)).unwrap_or_default();
    let mut tries = 1;
    loop {
        let Connected { link, kit, .. } = context.cloud.connected(PATIENCE).await?;
        if kit.sha256() != wanted.sha256() {
            return Err(Fault::new(codes::CLOUD_AWAY, "the cloud came back with another model"));
        }
        match encode::of_tokens(&link, &kit, before, from).await {
            Ok(states) => return Ok(states),
            Err(error) => again(error, &mut tries).await?,
        }
    }
}

/// Waits for another try where one may end better.
async fn again(error: EncodeError, tries: &mut u32) -> Result<(), Fault> {
    match error {
        EncodeError::Link(error) if *tries < TRIES && passing(&error) => {
            *tries += 1;
            tokio::time::sleep(PAUSE).await;
            Ok(())
        }
        EncodeError::Link(error) => Err(link_fault(&error)),
        error => Err(Fault::internal(error.to_string())),
    }
}

/// Whether another try may end better; the cloud says busy when chat has all its places.
fn passing(error: &LinkError) -> bool {
    match error {
        LinkError::Lost | LinkError::Away(_) | LinkError::Closed => true,
        LinkError::Fault { code, .. } => code == aside_cloud_api::fault::BUSY,
        LinkError::Refused(_) | LinkError::Protocol(_) | LinkError::Io(_) => false,
    }
}

/// Fetches what is missing for `model`; how many conversations the backbone's chat template refuses.
///
/// # Errors
/// Those of cloud and vault.
pub(super) async fn missing(context: &Context, model: &str, sink: &Sink<'_>) -> Result<usize, Fault> {
    let (reader, wanted) = (context.vault.clone(), model.to_owned());
    let sources = blocking(move || reader.sources_without_states(&wanted)).await?;
    let total = sources.len() as u64;
    let mut refused = 0;
    for (done, source) in (0..).zip(sources) {
        sink.progress(LearningState::Encoding, done, total, "asking the cloud for states");
        let lines: Vec<Line> = serde_json::from_str(&source.lines)
            .map_err(|e| Fault::internal(format!("lesson source {}: {e}", source.id)))?;
        let (reader, wanted) = (context.vault.clone(), model.to_owned());
        let shipped = blocking(move || reader.shipped(&wanted, source.id)).await?;
        let have = shipped.into_iter().map(EncodedTurn::from).collect();
        let turns = states(context, &lines, have).await?;
        refused += usize::from(turns.is_none());
        let rows = rows(&source, turns.unwrap_or_default());
        let (writer, wanted) = (context.vault.clone(), model.to_owned());
        blocking(move || writer.put_states(&wanted, &rows)).await?;
        if done % EVICT_EVERY == EVICT_EVERY - 1 || done + 1 == total {
            evict(context, model).await?;
        }
    }
    sink.progress(LearningState::Encoding, total, total, "all states are here");
    Ok(refused)
}

/// Keeps the cache below its limit.
async fn evict(context: &Context, model: &str) -> Result<(), Fault> {
    let (vault, model) = (context.vault.clone(), model.to_owned());
    let limit = context.settings.learning.cache_mib.saturating_mul(1 << 20);
    blocking(move || {
        let seen = vault.adapter_in_use()?.adapter.map_or(0, |(row, _)| row.watermark);
        let evicted = replay::evicted(&vault.lesson_sizes(&model)?, seen, limit);
        if evicted.is_empty() {
            return Ok(());
        }
        tracing::info!(lessons = evicted.len(), "cached states gave way: the cache is at its limit");
        vault.evict(&model, &evicted)
    })
    .await
}

/// A row for every lesson; an empty one where the template leaves a turn out, so that it is not asked for again.
fn rows(source: &SourceRow, mut turns: Vec<EncodedTurn>) -> Vec<(i64, Vec<u32>, Vec<u8>)> {
    let row = |(turn, lesson): &(u32, i64)| match turns.iter_mut().find(|t| t.turn == *turn as usize) {
        Some(t) => (*lesson, std::mem::take(&mut t.targets), std::mem::take(&mut t.states)),
        None => (*lesson, Vec::new(), Vec::new()),
    };
    source.lessons.iter().map(row).collect()
}
