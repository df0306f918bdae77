//! What can go wrong in an engine; load errors name the file and the cause.

use std::path::PathBuf;

use super::Sequence;

/// Result of an engine call.
pub type Result<T> = std::result::Result<T, EngineError>;

/// Why an engine refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A file of the model folder is not there.
    #[error("{} is missing: a model folder holds config.json, tokenizer.json and *.safetensors", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// A file of the model folder cannot be read.
    #[error("{} cannot be read", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is cut short, no safetensors or JSON, or says something impossible.
    #[error("{} is damaged or of another kind: {why}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The model is of a kind this engine does not compute.
    #[error("{} describes a model that this engine does not run: {why}", file.display())]
    Unsupported {
        /// The configuration.
        file: PathBuf,
        /// Which property.
        why: String,
    },
    /// A starter that was made with other weights.
    #[error("{} was made for another model; make it anew: aside cloud prepare DIR --text FILE", file.display())]
    ForeignStarter {
        /// The file.
        file: PathBuf,
    },
    /// A tensor that the configuration asks for is in none of the files.
    #[error("tensor {tensor} is in none of the weight files of {}", place.display())]
    MissingTensor {
        /// Name of the tensor.
        tensor: String,
        /// Folder or file that was searched.
        place: PathBuf,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor {tensor} in {} has the shape {found:?}, the configuration asks for {expected:?}", file.display())]
    Shape {
        /// Name of the tensor.
        tensor: String,
        /// File it is in.
        file: PathBuf,
        /// Shape of the configuration.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// No sequence of this handle is open.
    #[error("sequence {} is not open", .0.0)]
    NoSequence(Sequence),
    /// A token id beyond the vocabulary.
    #[error("token id {token} is beyond the vocabulary of {vocab}")]
    Token {
        /// The id.
        token: u32,
        /// Number of tokens.
        vocab: usize,
    },
    /// The sequence would grow beyond the model's context.
    #[error("{wanted} positions are more than the context of {context}")]
    ContextFull {
        /// Positions after the call.
        wanted: usize,
        /// Longest sequence.
        context: usize,
    },
    /// A call that cannot be meant: an empty chunk, a sequence twice in a batch, a slice of the wrong length.
    #[error("bad engine call: {0}")]
    Batch(String),
    /// The tensor library failed.
    #[error("tensor computation failed")]
    Tensor(#[from] candle_core::Error),
}
