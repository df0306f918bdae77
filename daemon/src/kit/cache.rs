//! Kits on disk, `SHA256.kit`: fetched once over the link, resumable, verified before every use. A damaged one is
//! fetched again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aside_cloud_api::link::LinkError;
use aside_cloud_api::link::client::Link;
use aside_cloud_api::proto::{FetchKit, Model, reply, request};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::{Kit, KitError};

/// Largest kit: the head of a large backbone in 8 bits and its tokenizer.
const LARGEST: u64 = 4 << 30;
/// Whole downloads before giving up: the second starts afresh.
const TRIES: usize = 2;

/// Why there is no kit.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The link broke or the cloud refused.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It came, but does not verify or read.
    #[error(transparent)]
    Kit(#[from] KitError),
    /// The cache cannot be written.
    #[error("the kit cannot be kept in {}: {cause}", folder.display())]
    Io {
        /// The folder of kits.
        folder: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The cloud sent something else than it announced.
    #[error("the cloud's description of its model kit makes no sense")]
    Protocol,
}

/// Path of a kit in `folder`.
#[must_use]
pub fn path(folder: &Path, sha256: &str) -> PathBuf {
    folder.join(format!("{sha256}.kit"))
}

/// The kit of `model`: the cached one if it verifies, else fetched.
///
/// # Errors
/// [`FetchError`].
pub async fn get(folder: &Path, link: &Link, model: &Model) -> Result<Arc<Kit>, FetchError> {
    let well_formed = model.kit.len() == 64 && model.kit.bytes().all(|b| b.is_ascii_hexdigit());
    if !well_formed || model.kit_bytes == 0 || model.kit_bytes > LARGEST {
        return Err(FetchError::Protocol);
    }
    let file = path(folder, &model.kit);
    if let Ok(kit) = read(&file, &model.kit).await {
        return Ok(kit);
    }
    let failed = |cause| FetchError::Io { folder: folder.to_owned(), cause };
    tokio::fs::create_dir_all(folder).await.map_err(failed)?;
    let part = folder.join(format!("{}.part", model.kit));
    let mut last = FetchError::Protocol;
    for _ in 0..TRIES {
        download(link, model, &part).await.map_err(|error| match error {
            FetchError::Io { cause, .. } => failed(cause),
            other => other,
        })?;
        match read(&part, &model.kit).await {
            Ok(kit) => {
                tokio::fs::rename(&part, &file).await.map_err(failed)?;
                return Ok(kit);
            }
            Err(error) => {
                let _ = tokio::fs::remove_file(&part).await;
                last = error;
            }
        }
    }
    Err(last)
}

/// Reads and verifies, off the runtime's threads.
async fn read(file: &Path, sha256: &str) -> Result<Arc<Kit>, FetchError> {
    let (file, sha256) = (file.to_owned(), sha256.to_owned());
    let opened = tokio::task::spawn_blocking(move || {
        let bytes = std::fs::read(&file)
            .map_err(|cause| FetchError::Io { folder: file.parent().unwrap_or(&file).to_owned(), cause })?;
        Ok::<_, FetchError>(Arc::new(Kit::open(bytes.into(), &sha256)?))
    });
    opened.await.unwrap_or(Err(FetchError::Protocol))
}

/// Goes on where an earlier download stopped.
async fn download(link: &Link, model: &Model, part: &Path) -> Result<(), FetchError> {
    let failed = |cause| FetchError::Io { folder: part.to_owned(), cause };
    let mut options = tokio::fs::OpenOptions::new();
    let mut file = options.create(true).truncate(false).write(true).open(part).await.map_err(failed)?;
    let mut at = file.seek(io::SeekFrom::End(0)).await.map_err(failed)?;
    if at > model.kit_bytes {
        file.set_len(0).await.map_err(failed)?;
        at = file.seek(io::SeekFrom::Start(0)).await.map_err(failed)?;
    }
    if at < model.kit_bytes {
        let body = FetchKit { sha256: model.kit.clone(), offset: at };
        let mut exchange = link.open(request::Body::FetchKit(body)).await?;
        while at < model.kit_bytes {
            let reply::Body::KitChunk(chunk) = exchange.next().await? else {
                return Err(FetchError::Protocol);
            };
            let end = at + chunk.data.len() as u64;
            if chunk.offset != at || chunk.data.is_empty() || end > model.kit_bytes {
                return Err(FetchError::Protocol);
            }
            file.write_all(&chunk.data).await.map_err(failed)?;
            at = end;
        }
    }
    file.sync_all().await.map_err(failed)
}
