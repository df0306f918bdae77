//! A failed call as front ends see it: code, cause, and the command that repairs it.
//!
//! It travels as a [`tonic::Status`]; code and repair lie in binary metadata, so that any text passes.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// The codes there are.
pub mod codes {
    /// There is no vault yet.
    pub const NO_VAULT: &str = "no-vault";
    /// The vault is locked.
    pub const LOCKED: &str = "locked";
    /// The passphrase or key does not open the vault.
    pub const WRONG_KEY: &str = "wrong-key";
    /// The vault, or something in it, does not verify.
    pub const DAMAGED: &str = "damaged";
    /// The cloud cannot be reached.
    pub const CLOUD_AWAY: &str = "cloud-away";
    /// The cloud refused us, or its key is not the pinned one.
    pub const CLOUD_REFUSED: &str = "cloud-refused";
    /// The request makes no sense.
    pub const BAD_REQUEST: &str = "bad-request";
    /// No such conversation, adapter or file.
    pub const NOT_FOUND: &str = "not-found";
    /// Something else is running that must end first.
    pub const BUSY: &str = "busy";
    /// Cancelled by the person.
    pub const CANCELLED: &str = "cancelled";
    /// The disk is full.
    pub const NO_SPACE: &str = "no-space";
    /// A defect of ours.
    pub const INTERNAL: &str = "internal";
    /// This adapter was trained for another variant.
    pub const VARIANT: &str = "variant";
}

const CODE_KEY: &str = "aside-code-bin";
const REPAIR_KEY: &str = "aside-repair-bin";

/// A failure that crosses a process border. It never holds chat text, keys or secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// One of [`codes`].
    pub code: String,
    /// The cause, in a sentence.
    pub message: String,
    /// The command that repairs it; empty when none does.
    pub repair: String,
}

impl Fault {
    /// A fault that no command repairs.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), repair: String::new() }
    }

    /// The same with the command that repairs it.
    #[must_use]
    pub fn repair(mut self, command: impl Into<String>) -> Self {
        self.repair = command.into();
        self
    }

    /// A defect of ours.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(codes::INTERNAL, message)
    }
}

/// The nearest gRPC code, for tools that know nothing of faults.
fn grpc(code: &str) -> Code {
    match code {
        codes::NO_VAULT | codes::LOCKED | codes::VARIANT => Code::FailedPrecondition,
        codes::WRONG_KEY | codes::CLOUD_REFUSED => Code::PermissionDenied,
        codes::DAMAGED => Code::DataLoss,
        codes::CLOUD_AWAY => Code::Unavailable,
        codes::BAD_REQUEST => Code::InvalidArgument,
        codes::NOT_FOUND => Code::NotFound,
        codes::BUSY => Code::Aborted,
        codes::CANCELLED => Code::Cancelled,
        codes::NO_SPACE => Code::ResourceExhausted,
        _ => Code::Internal,
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let mut status = Self::new(grpc(&fault.code), fault.message);
        let metadata = status.metadata_mut();
        metadata.insert_bin(CODE_KEY, MetadataValue::from_bytes(fault.code.as_bytes()));
        if !fault.repair.is_empty() {
            metadata.insert_bin(REPAIR_KEY, MetadataValue::from_bytes(fault.repair.as_bytes()));
        }
        status
    }
}

impl From<&Status> for Fault {
    fn from(status: &Status) -> Self {
        let text = |key| {
            let bytes = status.metadata().get_bin(key)?.to_bytes().ok()?;
            String::from_utf8(bytes.to_vec()).ok()
        };
        let repair = text(REPAIR_KEY).unwrap_or_default();
        if let Some(code) = text(CODE_KEY) {
            return Self { code, message: status.message().to_owned(), repair };
        }
        match status.code() {
            Code::Cancelled => Self::new(codes::CANCELLED, "cancelled"),
            Code::OutOfRange | Code::ResourceExhausted => Self::new(codes::BAD_REQUEST, status.message()),
            _ => Self::internal(format!("the daemon ended the call: {}", status.message()))
                .repair("aside daemon restart"),
        }
    }
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Self::from(&status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        for code in [
            codes::NO_VAULT,
            codes::LOCKED,
            codes::WRONG_KEY,
            codes::DAMAGED,
            codes::CLOUD_AWAY,
            codes::CLOUD_REFUSED,
            codes::BAD_REQUEST,
            codes::NOT_FOUND,
            codes::BUSY,
            codes::CANCELLED,
            codes::NO_SPACE,
            codes::INTERNAL,
            codes::VARIANT,
        ] {
            let fault = Fault::new(code, "Ursache: \"äöü\"\nnext line").repair("aside doctor --fix 'ä'");
            assert_eq!(Fault::from(Status::from(fault.clone())), fault);
            let plain = Fault::new(code, "no repair");
            assert_eq!(Fault::from(Status::from(plain.clone())), plain);
        }
    }

    #[test]
    fn a_bare_status_is_an_internal_fault_that_names_a_repair() {
        let fault = Fault::from(Status::new(Code::Unknown, "broken pipe"));
        assert_eq!(fault.code, codes::INTERNAL);
        assert_eq!(fault.repair, "aside daemon restart");
        assert_eq!(Fault::from(Status::new(Code::Cancelled, "")).code, codes::CANCELLED);
    }
}
