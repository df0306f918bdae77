//! The decoder: embedding, layers, final norm and head, with taps and one key/value cache per sequence.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Backbone, Chunk, EngineError, Hidden, Result, Sequence, Spec,
    cache::Cache,
    layer::{Layer, Norm, Span},
    linear::Linear,
    q8_0::{dequantize, row_bytes},
    rope::Rope,
};

/// Token embeddings.
pub(super) enum Table {
    /// Blocks, from an offset of a larger file on.
    Blocks(Arc<[u8]>, usize),
    /// Values.
    Values(Arc<Vec<f32>>),
}

/// Weights and sequences of one backbone.
pub struct Decoder {
    pub(super) spec: Spec,
    pub(super) table: Table,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Norm,
    /// The kit's head: quantised in every precision, so that the device multiplies the same numbers.
    pub(super) head: Linear,
    /// The head as the file has it, in f32 precision only.
    pub(super) exact_head: Option<Linear>,
    pub(super) rope: Rope,
    pub(super) sequences: BTreeMap<Sequence, Cache>,
    pub(super) next: u64,
}

impl Decoder {
    /// Logits by the head as the file has it; `None` where only the kit's quantised head was kept. A reference for
    /// tests: the product multiplies [`Backbone::head`], as the device does.
    ///
    /// # Errors
    /// As [`Backbone::head`].
    pub fn exact_logits(&self, z: &[f32]) -> Result<Option<Vec<f32>>> {
        self.check_rows(z)?;
        self.exact_head.as_ref().map(|head| head.apply(z)).transpose()
    }

    fn check_rows(&self, z: &[f32]) -> Result<()> {
        if z.len().is_multiple_of(self.spec.hidden) {
            return Ok(());
        }
        Err(EngineError::Batch(format!("{} values are no rows of {}", z.len(), self.spec.hidden)))
    }

    fn cache(&mut self, sequence: Sequence) -> Result<&mut Cache> {
        self.sequences.get_mut(&sequence).ok_or(EngineError::NoSequence(sequence))
    }

    fn check(&self, batch: &[Chunk<'_>]) -> Result<()> {
        let mut seen = std::collections::BTreeSet::new();
        for chunk in batch {
            let cache = self.sequences.get(&chunk.sequence).ok_or(EngineError::NoSequence(chunk.sequence))?;
            if chunk.tokens.is_empty() {
                return Err(EngineError::Batch("a chunk has no tokens".into()));
            }
            if !seen.insert(chunk.sequence) {
                return Err(EngineError::Batch("a sequence is twice in a batch".into()));
            }
            if let Some(token) = chunk.tokens.iter().find(|t| **t as usize >= self.spec.vocab) {
                return Err(EngineError::Token { token: *token, vocab: self.spec.vocab });
            }
            let wanted = cache.len + chunk.tokens.len();
            if wanted > self.spec.context {
                return Err(EngineError::ContextFull { wanted, context: self.spec.context });
            }
        }
        Ok(())
    }

    fn embed(&self, batch: &[Chunk<'_>]) -> Vec<f32> {
        let width = self.spec.hidden;
        let mut x = Vec::new();
        for token in batch.iter().flat_map(|chunk| chunk.tokens) {
            let row = *token as usize;
            match &self.table {
                Table::Blocks(bytes, offset) => {
                    let from = offset + row * row_bytes(width);
                    dequantize(bytes.get(from..from + row_bytes(width)).unwrap_or_default(), &mut x);
                }
                Table::Values(values) => {
                    x.extend_from_slice(values.get(row * width..(row + 1) * width).unwrap_or_default());
                }
            }
        }
        x
    }

    /// Runs all layers; the caches of the batch are taken out of `self` and passed in. Returns z and the taps, tap by
    /// tap.
    fn run(&self, batch: &[Chunk<'_>], caches: &mut [Cache]) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let mut x = self.embed(batch);
        let mut angles = Vec::new();
        for (chunk, cache) in batch.iter().zip(&*caches) {
            (cache.len..cache.len + chunk.tokens.len()).for_each(|p| self.rope.angles(p, &mut angles));
        }
        let mut taps = Vec::with_capacity(self.spec.taps.len());
        for (index, layer) in self.layers.iter().enumerate() {
            let spans = batch.iter().zip(caches.iter_mut()).filter_map(|(chunk, cache)| {
                let (first, rows) = (cache.len, chunk.tokens.len());
                cache.layers.get_mut(index).map(|cache| Span { cache, first, rows })
            });
            layer.apply(&mut x, &angles, &mut spans.collect::<Vec<_>>())?;
            if self.spec.taps.contains(&(index + 1)) {
                taps.push(x.clone());
            }
        }
        Ok((self.norm.apply(&x), taps))
    }

    /// Cuts the rows of a batch into its chunks, taps of a position side by side.
    fn cut(&self, batch: &[Chunk<'_>], z: &[f32], taps: &[Vec<f32>]) -> Vec<Hidden> {
        let mut first = 0;
        let width = self.spec.hidden;
        let rows = |all: &[f32], from: usize, n: usize| -> Vec<f32> {
            all.get(from * width..(from + n) * width).unwrap_or_default().to_vec()
        };
        let hidden = |chunk: &Chunk<'_>| {
            let positions = chunk.tokens.len();
            let from = first;
            first += positions;
            let sides =
                (from..from + positions).flat_map(|row| taps.iter().map(move |tap| rows(tap, row, 1)));
            Hidden { taps: sides.flatten().collect(), z: rows(z, from, positions), positions }
        };
        batch.iter().map(hidden).collect()
    }
}

impl Backbone for Decoder {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn begin(&mut self) -> Result<Sequence> {
        let sequence = Sequence(self.next);
        self.next += 1;
        let width = self.layers.first().map_or(0, |layer| layer.heads.key_width());
        self.sequences.insert(sequence, Cache::new(self.layers.len(), width));
        Ok(sequence)
    }

    fn forward(&mut self, batch: &[Chunk<'_>]) -> Result<Vec<Hidden>> {
        self.check(batch)?;
        let mut caches: Vec<Cache> =
            batch.iter().filter_map(|chunk| self.sequences.remove(&chunk.sequence)).collect();
        let result = self.run(batch, &mut caches);
        for (chunk, mut cache) in batch.iter().zip(caches) {
            if result.is_ok() {
                cache.len += chunk.tokens.len();
            }
            cache.truncate(cache.len);
            self.sequences.insert(chunk.sequence, cache);
        }
        result.map(|(z, taps)| self.cut(batch, &z, &taps))
    }

    fn head(&self, z: &[f32]) -> Result<Vec<f32>> {
        self.check_rows(z)?;
        self.head.apply(z)
    }

    fn truncate(&mut self, sequence: Sequence, n: usize) -> Result<()> {
        let cache = self.cache(sequence)?;
        if n > cache.len {
            return Err(EngineError::Batch(format!("a sequence of {} cannot be cut to {n}", cache.len)));
        }
        cache.truncate(n);
        Ok(())
    }

    fn len(&self, sequence: Sequence) -> usize {
        self.sequences.get(&sequence).map_or(0, |cache| cache.len)
    }

    fn end(&mut self, sequence: Sequence) {
        self.sequences.remove(&sequence);
    }
}
