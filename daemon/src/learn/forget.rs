//! Forgetting on request (method, section 3): rows leave every memory at once and exactly; networks that were trained
//! with the lessons are deleted, one in use as soon as another was trained without them.

use aside_adapter::{Adapter, Bar};
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{
    self, ForgetRequest, LearnDone, LearnRequest, LessonSource, forget_request::What,
};

use super::sink::Sink;
use super::{Context, run};
use crate::faults::blocking;
use crate::vault::{SourceSummary, Wanted};

/// See [`super::Learner::forget`].
pub(super) async fn forget(
    context: &Context,
    request: ForgetRequest,
    sink: &Sink<'_>,
) -> Result<LearnDone, Fault> {
    let wanted = match request.what {
        Some(What::Conversation(id)) => Wanted::Conversation(id),
        Some(What::File(name)) => Wanted::File(name),
        None => return Err(Fault::new(codes::BAD_REQUEST, "name a conversation or an imported file")),
    };
    let vault = context.vault.clone();
    let forgotten = blocking(move || vault.forget(&wanted, &strip, crate::now())).await?;
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let none = forgotten.versions.is_empty();
    let (lessons, rows, versions) = (count(forgotten.lessons), forgotten.rows, forgotten.versions);
    sink.forgotten(proto::Forgotten { lessons, rows, versions }).await;
    if none {
        let why = "no version had learned it".to_owned();
        return Ok(LearnDone { why, ..LearnDone::default() });
    }
    let vault = context.vault.clone();
    if !blocking(move || vault.tainted()).await? {
        let why = "what is in use had not learned it; versions that had are deleted".to_owned();
        return Ok(LearnDone { why, ..LearnDone::default() });
    }
    run::learn(context, LearnRequest::default(), Bar::Forgetting, sink).await
}

/// Takes the rows of sources out of an adapter's bytes.
fn strip(bytes: &[u8], sources: &[i64]) -> Result<(Vec<u8>, usize), String> {
    let mut adapter = Adapter::from_bytes(bytes).map_err(|e| e.to_string())?;
    let rows = sources.iter().map(|source| adapter.forget(source.cast_unsigned())).sum();
    Ok((adapter.to_bytes().map_err(|e| e.to_string())?, rows))
}

/// Where lessons come from, as front ends see it.
pub(crate) fn source(row: SourceSummary) -> LessonSource {
    let SourceSummary { conversation, name, created, lessons, tokens } = row;
    LessonSource { conversation, name, created, lessons: u32::try_from(lessons).unwrap_or(u32::MAX), tokens }
}
