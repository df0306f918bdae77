//! What can be wrong with what is handed in.

/// Why the method refuses or fails.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// Lengths or sizes that do not belong together.
    #[error("{0}")]
    Shape(String),
    /// Bytes that are no adapter, job or checkpoint of this version.
    #[error("{what} cannot be read: {why}")]
    Damaged {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing to train on.
    #[error("there is nothing to train on: {0}")]
    Nothing(String),
    /// Tensor arithmetic failed.
    #[error("tensor arithmetic: {0}")]
    Candle(#[from] candle_core::Error),
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, AdapterError>;
