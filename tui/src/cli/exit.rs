//! How a command ends: exit codes, and what stderr (or, for scripts, stdout) says about a failure.

use std::io;
use std::process::ExitCode;

use aside_config::{LoadError, PathsError, PrivateDirError};
use aside_daemon_api::client::ConnectError;
use aside_daemon_api::fault::{Fault, codes};

use super::events::Event;
use super::output;

/// The exit codes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Success = 0,
    /// It failed.
    Failure = 1,
    /// It was called wrongly.
    Usage = 2,
    /// The vault is locked or not there yet.
    Locked = 3,
    /// The cloud cannot be reached.
    CloudAway = 4,
    /// Ctrl+C.
    Interrupted = 130,
}

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something went wrong.
    Fault(Fault),
    /// It was called wrongly in a way that the parser cannot see.
    Usage(Fault),
    /// Ctrl+C; the command has said what there was to say.
    Interrupted,
    /// Whoever read our output has gone: nobody to tell.
    Pipe,
}

impl Failure {
    /// Called wrongly: the cause, and the command that is right.
    pub(crate) fn usage(message: &str, repair: &str) -> Self {
        Self::Usage(Fault::new(codes::BAD_REQUEST, message).repair(repair))
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Fault(fault) => exit_of(&fault.code),
            Self::Usage(_) => Exit::Usage,
            Self::Interrupted => Exit::Interrupted,
            Self::Pipe => Exit::Success,
        }
    }
}

/// The exit code of a fault.
pub(crate) fn exit_of(code: &str) -> Exit {
    match code {
        codes::NO_VAULT | codes::LOCKED | codes::WRONG_KEY => Exit::Locked,
        codes::CLOUD_AWAY => Exit::CloudAway,
        codes::CANCELLED => Exit::Interrupted,
        _ => Exit::Failure,
    }
}

/// Tells about a failure and gives the process its exit code.
pub(crate) fn code(ended: Result<Exit, Failure>, json: bool) -> ExitCode {
    let exit = match ended {
        Ok(exit) => exit,
        Err(failure) => {
            tell(&failure, json);
            failure.exit()
        }
    };
    ExitCode::from(exit as u8)
}

fn tell(failure: &Failure, json: bool) {
    let cancelled = Fault::new(codes::CANCELLED, "interrupted");
    let fault = match failure {
        Failure::Fault(fault) | Failure::Usage(fault) => fault,
        Failure::Interrupted if json => &cancelled,
        Failure::Interrupted | Failure::Pipe => return,
    };
    if json {
        // The exit code still tells when stdout is gone.
        let _ = output::json(&Event::error(fault));
    } else {
        output::fault(fault);
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self::Fault(status.into())
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let repair = match &error {
            ConnectError::Unreachable(_) => "aside daemon start",
            ConnectError::NoDaemon { .. } => "aside daemon restart",
            ConnectError::ForeignPeer { .. } | ConnectError::Io { .. } => "aside doctor",
        };
        Self::Fault(Fault::internal(error.to_string()).repair(repair))
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let fault = Fault::new(codes::BAD_REQUEST, error.to_string());
        match error {
            LoadError::BadValue { place, .. } if place == aside_config::FLAGS => {
                Self::Usage(fault.repair("aside ask --help"))
            }
            _ => Self::Fault(fault.repair("aside config default")),
        }
    }
}

impl From<PathsError> for Failure {
    fn from(error: PathsError) -> Self {
        Self::Fault(Fault::new(codes::NOT_FOUND, error.to_string()).repair("ASIDE_HOME=FOLDER aside"))
    }
}

impl From<PrivateDirError> for Failure {
    fn from(error: PrivateDirError) -> Self {
        Self::Fault(Fault::internal(error.to_string()).repair("aside doctor"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Pipe,
            io::ErrorKind::StorageFull => Self::Fault(Fault::new(codes::NO_SPACE, error.to_string())),
            _ => Self::Fault(Fault::internal(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_can_tell_failures_apart() {
        for (code, exit) in [
            (codes::NO_VAULT, 3),
            (codes::LOCKED, 3),
            (codes::WRONG_KEY, 3),
            (codes::CLOUD_AWAY, 4),
            (codes::CANCELLED, 130),
            (codes::CLOUD_REFUSED, 1),
            (codes::VARIANT, 1),
            (codes::INTERNAL, 1),
            ("a code of tomorrow", 1),
        ] {
            assert_eq!(exit_of(code) as u8, exit, "{code}");
        }
        assert_eq!(Failure::usage("a", "b").exit() as u8, 2);
        assert_eq!(Failure::Interrupted.exit() as u8, 130);
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).exit() as u8, 0);
    }

    #[test]
    fn a_bad_flag_is_usage_and_a_bad_file_is_not() {
        let error = |place: &str| LoadError::BadValue {
            key: "chat.top_p".into(),
            place: place.into(),
            what: "2 is too much".into(),
        };
        assert_eq!(Failure::from(error(aside_config::FLAGS)).exit(), Exit::Usage);
        assert_eq!(Failure::from(error("/c/config.toml")).exit(), Exit::Failure);
    }
}
