//! Failures of the link in the words of the front ends.

use aside_cloud_api::fault as cloud;
use aside_cloud_api::link::LinkError;
use aside_daemon_api::fault::{Fault, codes};

use crate::kit::cache::FetchError;

/// A link error as a fault.
#[must_use]
pub fn link_fault(error: &LinkError) -> Fault {
    let fault = |code: &str, repair: &str| Fault::new(code, error.to_string()).repair(repair);
    match error {
        LinkError::Refused(_) => fault(codes::CLOUD_REFUSED, "aside connect URI"),
        LinkError::Fault { code, .. } if code == cloud::UNAUTHORISED => {
            fault(codes::CLOUD_REFUSED, "aside connect URI")
        }
        LinkError::Fault { code, .. } if code == cloud::BUSY => fault(codes::BUSY, ""),
        LinkError::Fault { code, .. } if code == cloud::CONTEXT_FULL => fault(codes::BAD_REQUEST, ""),
        LinkError::Fault { .. } | LinkError::Protocol(_) => fault(codes::INTERNAL, "aside doctor"),
        LinkError::Lost | LinkError::Away(_) | LinkError::Closed | LinkError::Io(_) => {
            fault(codes::CLOUD_AWAY, "aside doctor")
        }
    }
}

/// A failure to get the kit as a fault.
#[must_use]
pub fn fetch_fault(error: &FetchError) -> Fault {
    match error {
        FetchError::Link(error) => link_fault(error),
        FetchError::Io { cause, .. } if cause.kind() == std::io::ErrorKind::StorageFull => {
            Fault::new(codes::NO_SPACE, error.to_string())
        }
        FetchError::Kit(_) | FetchError::Io { .. } | FetchError::Protocol => {
            Fault::internal(error.to_string()).repair("aside doctor")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_invitation_and_a_loss_the_doctor() {
        let refused = link_fault(&LinkError::Refused("unknown key".into()));
        assert_eq!(
            (refused.code.as_str(), refused.repair.as_str()),
            (codes::CLOUD_REFUSED, "aside connect URI")
        );
        assert_eq!(link_fault(&LinkError::Lost).code, codes::CLOUD_AWAY);
        let busy = LinkError::Fault { code: cloud::BUSY.into(), message: String::new() };
        assert_eq!(link_fault(&busy).code, codes::BUSY);
    }
}
