//! What a training is made of, and what its version gets besides.

use std::collections::BTreeSet;
use std::sync::Arc;

use aside_adapter::{Adapter, Bar, Variant};
use aside_daemon_api::fault::{Fault, codes};
use ring::digest::{SHA256, digest};

use super::child::head_frame;
use super::memory::RememberError;
use super::report::Numbers;
use super::trainer::Trained;
use super::{Context, generic, job, memory, replay};
use crate::kit::Kit;
use crate::vault::{Checkpoint, Vault};

/// Everything that a training needs, and what it was made of.
pub(super) struct Prepared {
    pub(super) head: Vec<u8>,
    pub(super) job: Vec<u8>,
    pub(super) id: Vec<u8>,
    pub(super) variant: Variant,
    pub(super) seed: u64,
    pub(super) watermark: i64,
    /// Tokens of the lessons that it sees.
    pub(super) tokens: u64,
    /// Lessons whose rows its memory is to hold besides.
    rows: BTreeSet<i64>,
    pub(super) resume: Option<Vec<u8>>,
}

/// The job, or `None` without a lesson to train on. What was interrupted is ended first when it learns by itself; a
/// person who asks wants everything in.
///
/// # Errors
/// As [`complete`].
pub(super) async fn prepare(
    context: &Context,
    kit: Arc<Kit>,
    variant: Variant,
    seed: Option<u64>,
    bar: Bar,
) -> Result<Option<Prepared>, Fault> {
    let (vault, budget) = (context.vault.clone(), context.settings.learning.budget);
    let made = tokio::task::spawn_blocking(move || -> Result<Option<Prepared>, RememberError> {
        let newest = vault.newest_lesson()?;
        let interrupted = vault.checkpoint()?.filter(|c| {
            let wanted = bar == Bar::Sure || c.watermark == newest;
            wanted && c.variant == variant.as_str() && seed.is_none_or(|seed| seed == c.seed)
        });
        if let Some(Checkpoint { job, watermark, seed, bytes, .. }) = interrupted
            && let Some(prepared) = made(&vault, &kit, budget, variant, (watermark, seed))?
            && prepared.id == job
        {
            return Ok(Some(Prepared { resume: Some(bytes), ..prepared }));
        }
        // The same lessons give the same job, so that an interrupted training is found again.
        made(&vault, &kit, budget, variant, (newest, seed.unwrap_or(newest.cast_unsigned())))
    });
    let made = made.await.map_err(|_| Fault::internal("the job could not be made"))?;
    made.map_err(|e| Fault::new(codes::DAMAGED, e.to_string()).repair("aside doctor"))
}

/// The job on lessons up to `watermark`.
fn made(
    vault: &Vault,
    kit: &Kit,
    budget: f32,
    variant: Variant,
    (watermark, seed): (i64, u64),
) -> Result<Option<Prepared>, RememberError> {
    let mut sizes = vault.lesson_sizes(kit.model())?;
    sizes.retain(|l| l.id <= watermark);
    let seen = vault.adapter_in_use()?.adapter.map_or(0, |(row, _)| row.watermark);
    let chosen = replay::training(&sizes, seen);
    let lessons = vault.lessons(kit.model(), &chosen)?;
    if !lessons.iter().any(|l| l.part == 0 && !l.targets.is_empty()) {
        return Ok(None);
    }
    let tokens = lessons.iter().map(|l| l.targets.len() as u64).sum();
    let mut job = job::job(kit, &lessons, variant, seed, budget)?;
    job.turns.extend(generic::beside(&generic::turns::<RememberError>(vault, kit)?, &job.turns));
    let job = job.to_bytes();
    let id = digest(&SHA256, &job).as_ref().to_vec();
    let head = head_frame(kit.vocab(), kit.hidden(), kit.head_rows());
    let rows = replay::remembered(&sizes, seen).difference(&chosen).copied().collect();
    Ok(Some(Prepared { head, job, id, variant, seed, watermark, tokens, rows, resume: None }))
}

/// Adds the rows of lessons that the training had no room for.
///
/// # Errors
/// `damaged` when a cached state does not fit the backbone; those of the vault.
pub(super) async fn complete(
    context: &Context,
    model: &str,
    prepared: &Prepared,
    trained: Trained,
) -> Result<Trained, Fault> {
    if prepared.rows.is_empty() {
        return Ok(trained);
    }
    let (vault, model, rows) = (context.vault.clone(), model.to_owned(), prepared.rows.clone());
    let work = move || -> Result<Trained, String> {
        let mut adapter = Adapter::from_bytes(&trained.adapter).map_err(|e| e.to_string())?;
        memory::add(&mut adapter, &vault, &model, &rows).map_err(|e| e.to_string())?;
        let numbers = Numbers { memory_rows: adapter.memory_rows() as u64, ..trained.numbers };
        Ok(Trained { adapter: adapter.to_bytes().map_err(|e| e.to_string())?, numbers })
    };
    let completed = tokio::task::spawn_blocking(work).await;
    let completed = completed.map_err(|_| Fault::internal("filling the memory ended unexpectedly"))?;
    completed.map_err(|why| Fault::new(codes::DAMAGED, why).repair("aside doctor"))
}
