//! Where a cloud is and who it is: `aside://HOST:PORT/KEY#SECRET`, or `aside+unix:///PATH/KEY` on this machine.

use crate::identity::{PublicKey, hex, unhex};
use crate::link::Address;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A one-time secret of an invitation. Never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Address and key of a cloud, and the invitation where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    /// Where it listens.
    pub address: Address,
    /// Its public key, to be pinned.
    pub key: PublicKey,
    /// The secret of an invitation.
    pub secret: Option<Secret>,
}

/// Why text is no URI of a cloud. Never holds the text: it may carry a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the URI of a cloud ({0}); it looks like aside://HOST:PORT/KEY#SECRET, as `aside cloud invite` prints it"
)]
pub struct UriError(&'static str);

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(host, port) if host.contains(':') => {
                write!(f, "aside://[{host}]:{port}/{}", self.key)?
            }
            Address::Tcp(host, port) => write!(f, "aside://{host}:{port}/{}", self.key)?,
            Address::Unix(path) => write!(f, "aside+unix://{}/{}", path.display(), self.key)?,
        }
        match &self.secret {
            Some(Secret(bytes)) => write!(f, "#{}", hex(bytes)),
            None => Ok(()),
        }
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let text = text.trim();
        let (place, secret) = match text.split_once('#') {
            Some((place, secret)) => (place, Some(Secret(unhex(secret).ok_or(UriError("a bad secret"))?))),
            None => (text, None),
        };
        let (place, key) = place.rsplit_once('/').ok_or(UriError("no key"))?;
        let key = key.parse().map_err(|_| UriError("a bad key"))?;
        let address = if let Some(path) = place.strip_prefix("aside+unix://") {
            Address::Unix(PathBuf::from(path))
        } else {
            let place = place.strip_prefix("aside://").ok_or(UriError("another scheme"))?;
            tcp(place).ok_or(UriError("no HOST:PORT"))?
        };
        Ok(Self { address, key, secret })
    }
}

/// `HOST:PORT`, an IPv6 host in brackets.
pub(crate) fn tcp(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    if host.is_empty() || (bare.is_none() && host.contains(':')) {
        return None;
    }
    Some(Address::Tcp(host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    #[test]
    fn every_form_comes_back() {
        let key = Identity::generate().unwrap().public();
        for address in [
            Address::Tcp("example.org".into(), 7425),
            Address::Tcp("::1".into(), 1),
            Address::Unix("/run/user/1/a.sock".into()),
        ] {
            for secret in [None, Some(Secret(vec![1, 2, 255]))] {
                let uri = Uri { address: address.clone(), key, secret };
                assert_eq!(uri.to_string().parse(), Ok(uri.clone()), "{uri}");
            }
        }
    }

    #[test]
    fn refusals_name_the_part_and_never_the_secret() {
        for text in
            ["", "http://a:1/k", "aside://a:1", "aside://a/00", "aside://a:1/zz#00", "aside://a:1/00#xyz"]
        {
            let error = text.parse::<Uri>().unwrap_err().to_string();
            assert!(!error.contains("xyz") && error.contains("aside://HOST"));
        }
        assert_eq!(format!("{:?}", Secret(vec![1])), "Secret(..)");
    }
}
