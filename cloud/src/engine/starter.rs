//! The starter beside the weights: what devices begin with. Its content is theirs; here it is bytes that say which
//! backbone they were made for.

use std::path::{Path, PathBuf};

use super::{EngineError, Result};

/// Its name in a model folder.
pub const STARTER_FILE: &str = "aside.starter";

/// The file.
pub(super) struct Starter {
    path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

impl Starter {
    pub(super) fn new(path: &Path, bytes: Vec<u8>) -> Self {
        Self { path: path.into(), bytes }
    }

    /// That of a folder, if there is one.
    pub(super) fn open(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(STARTER_FILE);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(Self { path, bytes })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(EngineError::Io { file: path, source }),
        }
    }

    /// Checks that it belongs to the model `id`: its metadata end with that.
    pub(super) fn check(&self, id: &str) -> Result<()> {
        let damaged = |why: String| EngineError::Damaged { file: self.path.clone(), why };
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&self.bytes)
            .map_err(|error| damaged(error.to_string()))?;
        let about = metadata.metadata().as_ref().and_then(|m| m.get("aside"));
        match about.and_then(|about| about.rsplit(' ').next()) {
            Some(model) if model == id => Ok(()),
            Some(_) => Err(EngineError::ForeignStarter { file: self.path.clone() }),
            None => Err(damaged("it does not say what it is".into())),
        }
    }
}
