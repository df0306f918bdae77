//! Where the cloud is: on this machine, or at an address with a pinned key.

use aside_cloud_api::link::Address;
use aside_cloud_api::uri::Uri;
use aside_daemon_api::fault::{Fault, codes};

/// Name of the choice in the vault; what `aside connect` stored wins over the settings.
pub(crate) const META: &str = "cloud.uri";
/// The word for a cloud on this machine.
const LOCAL: &str = "local";

/// Where the cloud is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A child of the daemon.
    Local,
    /// Elsewhere.
    Remote(Uri),
}

impl Place {
    /// "local" or a URI.
    ///
    /// # Errors
    /// Fault `bad-request` when it is neither.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let text = text.trim();
        if text.is_empty() || text == LOCAL {
            return Ok(Self::Local);
        }
        let uri = text.parse().map_err(|error: aside_cloud_api::uri::UriError| {
            Fault::new(codes::BAD_REQUEST, error.to_string()).repair("aside connect URI")
        })?;
        Ok(Self::Remote(uri))
    }

    /// What `aside connect` stored, else what the settings say.
    ///
    /// # Errors
    /// As [`Place::parse`].
    pub fn chosen(stored: Option<&[u8]>, settings: &str) -> Result<Self, Fault> {
        match stored.and_then(|bytes| std::str::from_utf8(bytes).ok()) {
            Some(stored) => Self::parse(stored),
            None => Self::parse(settings),
        }
    }

    /// As the vault keeps it; never with a secret.
    #[must_use]
    pub fn stored(&self) -> String {
        match self {
            Self::Local => LOCAL.to_owned(),
            Self::Remote(uri) => Uri { secret: None, ..uri.clone() }.to_string(),
        }
    }

    /// "local", host:port or a path.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Local => LOCAL.to_owned(),
            Self::Remote(Uri { address: address @ Address::Tcp(..), .. }) => address.to_string(),
            Self::Remote(Uri { address: Address::Unix(path), .. }) => path.display().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_connected_wins_and_the_secret_is_never_kept() {
        let key = "ab".repeat(32);
        let uri = format!("aside://example.org:7425/{key}");
        let place = Place::parse(&format!("{uri}#0102")).unwrap();
        assert_eq!(place.stored(), uri);
        assert_eq!(place.name(), "example.org:7425");
        assert_eq!(Place::chosen(Some(b"local"), &uri), Ok(Place::Local));
        assert_eq!(Place::chosen(None, &uri).unwrap().stored(), uri);
        assert_eq!(Place::chosen(None, ""), Ok(Place::Local));
        assert_eq!(Place::parse("http://x").unwrap_err().code, codes::BAD_REQUEST);
    }
}
