//! `aside adapter export` and `import`: versions as files that a passphrase seals.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aside_config::Paths;
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{self, ExportAdapterRequest, SealedAdapter};

use super::exit::Failure;
use super::{learn, output, secret, unlock};

/// Writes a version; the file is its owner's alone.
pub(crate) async fn export(
    paths: &Paths,
    file: &Path,
    version: Option<u64>,
    passphrase_file: Option<PathBuf>,
) -> Result<(), Failure> {
    let cannot = |cause: std::io::Error| {
        Fault::new(codes::BAD_REQUEST, format!("cannot write {}: {cause}", file.display()))
    };
    if file.symlink_metadata().is_ok() {
        return Err(cannot(std::io::ErrorKind::AlreadyExists.into()).into());
    }
    let mut rpc = unlock::open(paths).await?;
    let passphrase = secret::passphrase(passphrase_file.as_deref(), true)?;
    let request = ExportAdapterRequest { version: version.unwrap_or(0), passphrase };
    let sealed = rpc.export_adapter(request).await?.into_inner().content;
    let mut out =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(cannot)?;
    if let Err(cause) = out.write_all(&sealed).and_then(|()| out.sync_all()) {
        let _ = std::fs::remove_file(file);
        return Err(cannot(cause).into());
    }
    output::line(&format!(
        "{} holds the version, sealed. Its memory holds your lessons' words: without the passphrase nobody reads them, \
         with it everybody can.",
        file.display()
    ))?;
    Ok(())
}

/// Puts a version from a file in use.
pub(crate) async fn import(
    paths: &Paths,
    file: &Path,
    passphrase_file: Option<PathBuf>,
) -> Result<proto::Adapter, Failure> {
    let content = learn::read(file)?.content;
    let mut rpc = unlock::open(paths).await?;
    let passphrase = secret::passphrase(passphrase_file.as_deref(), false)?;
    Ok(rpc.import_adapter(SealedAdapter { content, passphrase }).await?.into_inner())
}
