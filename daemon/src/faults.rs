//! Failures of the rooms below, in the words of the front ends.

use aside_daemon_api::fault::{Fault, codes};

use crate::keys::KeyError;
use crate::kit::KitError;
use crate::vault::VaultError;

/// A failure of the vault as a fault.
pub(crate) fn vault_fault(error: &VaultError) -> Fault {
    let code = match error {
        VaultError::Key(_) => codes::WRONG_KEY,
        VaultError::Damaged(_) => codes::DAMAGED,
        VaultError::Full => codes::NO_SPACE,
        VaultError::NotFound(_) => codes::NOT_FOUND,
        VaultError::Newer(_) | VaultError::Plain | VaultError::Io { .. } | VaultError::Database(_) => {
            codes::INTERNAL
        }
    };
    let fault = Fault::new(code, error.to_string());
    match error {
        VaultError::NotFound(_) | VaultError::Full => fault,
        _ => fault.repair("aside doctor"),
    }
}

/// A failure of the key slots as a fault.
pub(crate) fn key_fault(error: &KeyError) -> Fault {
    let code = match error {
        KeyError::NoVault => codes::NO_VAULT,
        KeyError::Locked | KeyError::Keyring(_) => codes::LOCKED,
        KeyError::WrongPassphrase => codes::WRONG_KEY,
        KeyError::Exists(_) | KeyError::EmptyPassphrase => codes::BAD_REQUEST,
        KeyError::Damaged { .. } => codes::DAMAGED,
        KeyError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => codes::NO_SPACE,
        KeyError::Io { .. } | KeyError::Random => codes::INTERNAL,
    };
    Fault::new(code, error.to_string()).repair(error.repair())
}

/// A failure of the kit as a fault.
pub(crate) fn kit_fault(error: &KitError) -> Fault {
    match error {
        KitError::TooLong { .. } => Fault::new(codes::BAD_REQUEST, error.to_string()),
        _ => Fault::internal(error.to_string()).repair("aside doctor"),
    }
}

/// Runs blocking work of the vault off the runtime's threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| vault_fault(&error)),
        Err(_) => {
            Err(Fault::internal("the vault's thread ended unexpectedly").repair("aside daemon restart"))
        }
    }
}
