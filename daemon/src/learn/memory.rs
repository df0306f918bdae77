//! Rows of the personal memory outside a training: lessons join it as they come, and a new version gets those that its
//! training had no room for.

use std::collections::BTreeSet;

use aside_adapter::{Adapter, Shape};
use aside_cloud_api::codec::{CodecError, Layout};

use super::{job, replay};
use crate::vault::{Vault, VaultError};

/// Lessons decoded at a time.
const AT_ONCE: usize = 64;

/// Why rows could not be added.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RememberError {
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A cached state does not fit the backbone.
    #[error("cached states: {0}")]
    Codec(#[from] CodecError),
}

/// Adds what was learned since `version` was trained to its memory, as far as there is room.
///
/// # Errors
/// [`RememberError`].
pub(crate) fn catch_up(
    adapter: &mut Adapter,
    vault: &Vault,
    version: u64,
    model: &str,
) -> Result<(), RememberError> {
    let mut since = vault.lessons_since(version, model)?;
    since.retain(replay::judged);
    let room = replay::ROWS.saturating_sub(adapter.memory_rows());
    let wanted = replay::newest(&since, room);
    add(adapter, vault, model, &wanted)
}

/// Adds lessons by id.
///
/// # Errors
/// [`RememberError`].
pub(super) fn add(
    adapter: &mut Adapter,
    vault: &Vault,
    model: &str,
    wanted: &BTreeSet<i64>,
) -> Result<(), RememberError> {
    let Shape { hidden, layer_taps, .. } = adapter.shape();
    let wanted: Vec<i64> = wanted.iter().copied().collect();
    for some in wanted.chunks(AT_ONCE) {
        let lessons = vault.lessons(model, &some.iter().copied().collect())?;
        adapter.remember(&job::turns(Layout { hidden, layer_taps }, &lessons)?);
    }
    Ok(())
}
