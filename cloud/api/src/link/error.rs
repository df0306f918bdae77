//! What can go wrong on the link.

/// Why a call, a stream or a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The connection broke, or the exchange was ended because nobody read its replies; a new one can resume.
    #[error("the connection to the cloud was lost")]
    Lost,
    /// No connection now; it is tried again in the background.
    #[error("the cloud is away: {0}")]
    Away(String),
    /// The cloud's key is not the pinned one, or it does not know us.
    #[error("the cloud refuses: {0}; ask for an invitation and run `aside connect URI`")]
    Refused(String),
    /// The cloud ended the exchange; see [`crate::fault`].
    #[error("the cloud says {code}: {message}")]
    Fault {
        /// One of the codes.
        code: String,
        /// In words.
        message: String,
    },
    /// The link was closed on this side.
    #[error("the link is closed")]
    Closed,
    /// The other end breaks the rules.
    #[error("the other end breaks the protocol: {0}")]
    Protocol(&'static str),
    /// The system refused.
    #[error("{0}")]
    Io(String),
}

impl From<std::io::Error> for LinkError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}
