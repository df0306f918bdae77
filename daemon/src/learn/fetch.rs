//! Fetches the states of lessons that have none of the backbone in use, a conversation at a time: what came is kept,
//! so that a broken link or a kill costs one conversation.

use std::time::Duration;

use aside_cloud_api::link::LinkError;
use aside_daemon_api::fault::Fault;
use aside_daemon_api::proto::LearningState;

use super::encode::{EncodeError, EncodedTurn, encode};
use super::import::Line;
use super::sink::Sink;
use crate::cloud::{Cloud, Connected, link_fault};
use crate::faults::blocking;
use crate::vault::{SourceRow, Vault};

/// How long a cloud that is away is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Tries of one conversation.
const TRIES: u32 = 5;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(500);

/// The states of `lines`, those of `have` where they fit and the rest over a link that may break and come back.
///
/// # Errors
/// Those of the cloud; `None` where the conversation does not fit the backbone's chat template.
pub(super) async fn states(
    cloud: &Cloud,
    lines: &[Line],
    have: &[EncodedTurn],
) -> Result<Option<Vec<EncodedTurn>>, Fault> {
    let mut tries = 1;
    loop {
        let Connected { link, kit, .. } = cloud.connected(PATIENCE).await?;
        match encode(&link, &kit, lines, have).await {
            Ok(turns) => return Ok(Some(turns)),
            Err(EncodeError::Template(why)) => {
                tracing::info!(why, "a conversation is passed over");
                return Ok(None);
            }
            Err(EncodeError::Link(error)) if tries < TRIES && passing(&error) => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(EncodeError::Link(error)) => return Err(link_fault(&error)),
            Err(error @ EncodeError::States) => return Err(Fault::internal(error.to_string())),
        }
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

/// Fetches what is missing for `model`.
///
/// # Errors
/// Those of cloud and vault.
pub(super) async fn missing(vault: &Vault, cloud: &Cloud, model: &str, sink: &Sink<'_>) -> Result<(), Fault> {
    let (reader, wanted) = (vault.clone(), model.to_owned());
    let sources = blocking(move || reader.sources_without_states(&wanted)).await?;
    let total = sources.len() as u64;
    for (done, source) in (0..).zip(sources) {
        sink.progress(LearningState::Encoding, done, total, "asking the cloud for states").await;
        let lines: Vec<Line> = serde_json::from_str(&source.lines)
            .map_err(|e| Fault::internal(format!("lesson source {}: {e}", source.id)))?;
        let (reader, wanted) = (vault.clone(), model.to_owned());
        let shipped = blocking(move || reader.shipped(&wanted, source.id)).await?;
        let have: Vec<_> = shipped.into_iter().map(EncodedTurn::from).collect();
        let turns = states(cloud, &lines, &have).await?.unwrap_or_default();
        let rows = rows(&source, turns);
        let (writer, model) = (vault.clone(), model.to_owned());
        blocking(move || writer.put_states(&model, &rows)).await?;
    }
    sink.progress(LearningState::Encoding, total, total, "all states are here").await;
    Ok(())
}

/// A row for every lesson; an empty one where the template leaves a turn out, so that it is not asked for again.
fn rows(source: &SourceRow, mut turns: Vec<EncodedTurn>) -> Vec<(i64, Vec<u32>, Vec<u8>)> {
    let row = |(turn, lesson): &(u32, i64)| match turns.iter_mut().find(|t| t.turn == *turn as usize) {
        Some(t) => (*lesson, std::mem::take(&mut t.targets), std::mem::take(&mut t.states)),
        None => (*lesson, Vec::new(), Vec::new()),
    };
    source.lessons.iter().map(row).collect()
}
