//! Backbone engines: the frozen decoder, its taps, and the kit a device needs to compute the same logits.
//!
//! [`Backbone`] is the seam: everything above it (sessions, batching, gate) sees token ids, hidden states and logits.

mod attention;
mod build;
mod cache;
mod config;
mod decoder;
mod error;
mod folder;
mod kit;
mod layer;
mod linear;
mod q8_0;
mod rope;
mod simd;
mod spec;
mod starter;
mod store;

use std::path::Path;

pub use decoder::Decoder;
pub use error::{EngineError, Result};
pub use kit::{KIT_FORMAT, Kit};
pub use spec::{Spec, tap_layers};
pub use starter::STARTER_FILE;

use folder::Texts;
use starter::Starter;
use store::Store;

/// Handle of one sequence's key/value cache in a [`Backbone`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sequence(pub(crate) u64);

/// Tokens to append at the end of one sequence: a whole prompt or a single step; batches may be ragged.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// The sequence to go on with. A sequence appears at most once in a batch.
    pub sequence: Sequence,
    /// At least one token id below the vocabulary.
    pub tokens: &'a [u32],
}

/// What [`Backbone::forward`] computes for one chunk, position by position.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hidden {
    /// `positions * layer_taps * hidden` values: the raw residual stream after each tapped layer.
    pub taps: Vec<f32>,
    /// `positions * hidden` values: the state after the final norm, which the head multiplies.
    pub z: Vec<f32>,
    /// Positions in this chunk, as many as it has tokens.
    pub positions: usize,
}

/// How weights are held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// As the file has them, widened to f32. Exact, slow; the reference.
    F32,
    /// 8-bit blocks where the shape allows the fast kernels (k % 256 == 0 and n % 16 == 0), f32 elsewhere.
    #[default]
    Q8_0,
}

/// A frozen decoder. Not shared between threads: one engine thread owns it.
///
/// With [`Precision::Q8_0`] and widths that meet its rule, z, taps and logits of a position are bit-identical whatever
/// else is in the batch and whether the position was prefilled or stepped, so that an answer resumes exactly.
pub trait Backbone: Send {
    /// Shape and identity.
    fn spec(&self) -> &Spec;

    /// Opens an empty sequence.
    ///
    /// # Errors
    /// None today; an engine with a fixed number of sequences may be full.
    fn begin(&mut self) -> Result<Sequence>;

    /// Appends every chunk to its sequence and returns one [`Hidden`] per chunk, in order. Nothing is appended
    /// anywhere when it fails.
    ///
    /// # Errors
    /// [`EngineError::NoSequence`], [`EngineError::Token`], [`EngineError::ContextFull`], [`EngineError::Batch`].
    fn forward(&mut self, batch: &[Chunk<'_>]) -> Result<Vec<Hidden>>;

    /// Logits of `n` positions: `z` is `n * hidden` values, the answer `n * vocab`. Multiplies the head of the [`Kit`].
    ///
    /// # Errors
    /// [`EngineError::Batch`] when the length of `z` is not a multiple of `hidden`.
    fn head(&self, z: &[f32]) -> Result<Vec<f32>>;

    /// Keeps the first `n` positions of a sequence.
    ///
    /// # Errors
    /// [`EngineError::NoSequence`]; [`EngineError::Batch`] when the sequence is shorter than `n`.
    fn truncate(&mut self, sequence: Sequence, n: usize) -> Result<()>;

    /// Positions in a sequence; 0 for one that does not exist.
    fn len(&self, sequence: Sequence) -> usize;

    /// Whether a sequence has no positions.
    fn is_empty(&self, sequence: Sequence) -> bool {
        self.len(sequence) == 0
    }

    /// Drops a sequence and its cache; one that does not exist is ignored.
    fn end(&mut self, sequence: Sequence);
}

/// A backbone and the kit a device needs beside it.
pub struct Loaded {
    /// The engine.
    pub backbone: Box<dyn Backbone>,
    /// Head, tokenizer and chat template, as one content-addressed file.
    pub kit: Kit,
}

/// The embedded backbone: a packed file, see `cloud/pretrain/pack.py`.
static BUNDLED: &[u8] = include_bytes!("../../assets/backbone.safetensors");

/// Its starter, made by `aside cloud prepare`, see `cloud/pretrain/README.md`.
static BUNDLED_STARTER: &[u8] = include_bytes!("../../assets/aside.starter");

/// Loads the backbone that is embedded in the binary.
///
/// # Errors
/// [`EngineError`] when the embedded file does not read; a build error, not a user's.
pub fn bundled() -> Result<Loaded> {
    embedded(Some(BUNDLED_STARTER))
}

fn embedded(starter: Option<&[u8]>) -> Result<Loaded> {
    const NAME: &str = "the bundled backbone";
    let store = Store::memory(NAME, BUNDLED)?;
    let mut texts = Texts::packed(NAME, &store)?;
    texts.starter = starter.map(|bytes| Starter::new(Path::new(NAME), bytes.to_vec()));
    boxed(build::build(&texts, store, Precision::Q8_0)?)
}

/// A folder, or the embedded backbone, without its starter: to make one.
///
/// # Errors
/// As [`load`].
pub fn unprepared(dir: Option<&Path>) -> Result<Loaded> {
    let Some(dir) = dir else { return embedded(None) };
    let texts = Texts { starter: None, ..Texts::open(dir)? };
    boxed(build::build(&texts, Store::open(dir)?, Precision::Q8_0)?)
}

/// Loads a Hugging Face folder: `config.json`, `tokenizer.json`, `*.safetensors`.
///
/// # Errors
/// [`EngineError`] names the file and what is wrong with it.
pub fn load(dir: &Path, precision: Precision) -> Result<Loaded> {
    boxed(load_decoder(dir, precision)?)
}

/// As [`load`], with the decoder's own type.
///
/// # Errors
/// As [`load`].
pub fn load_decoder(dir: &Path, precision: Precision) -> Result<(Decoder, Kit)> {
    let texts = Texts::open(dir)?;
    build::build(&texts, Store::open(dir)?, precision)
}

fn boxed((decoder, kit): (Decoder, Kit)) -> Result<Loaded> {
    Ok(Loaded { backbone: Box::new(decoder), kit })
}
