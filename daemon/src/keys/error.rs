//! What can be wrong with the key slots, and the command that repairs it.

use std::path::PathBuf;

/// Why there is no vault key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Nothing set up yet.
    #[error("there is no vault yet")]
    NoVault,
    /// `create` where slots exist.
    #[error("a vault exists already in {}", .0.display())]
    Exists(PathBuf),
    /// Only a passphrase opens it and none was given.
    #[error("the vault is locked and needs its passphrase")]
    Locked,
    /// The passphrase does not open its slot.
    #[error("the passphrase does not open the vault")]
    WrongPassphrase,
    /// An empty passphrase.
    #[error("a passphrase must not be empty")]
    EmptyPassphrase,
    /// No keyring, or it does not answer.
    #[error("the system's keyring cannot be used: {0}")]
    Keyring(String),
    /// A slot or key file that was changed or is readable by others.
    #[error("{} {why}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Reading or writing failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// No randomness.
    #[error("the system gives no random numbers")]
    Random,
}

impl KeyError {
    /// The command that repairs it; empty where there is none.
    #[must_use]
    pub fn repair(&self) -> &'static str {
        match self {
            Self::NoVault => {
                "aside init --key keyring|passphrase|file (a passphrase comes from ASIDE_PASSPHRASE_FILE where there is no terminal)"
            }
            Self::Locked | Self::WrongPassphrase => {
                "run `aside` in a terminal, or name a file with the passphrase in ASIDE_PASSPHRASE_FILE"
            }
            Self::Keyring(_) => "unlock the keyring of your session, or use aside init --key passphrase",
            Self::Damaged { .. } => "aside doctor",
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                "put the file back from a backup: without it the vault cannot be opened"
            }
            _ => "",
        }
    }
}
