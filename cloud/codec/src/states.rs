//! Consecutive states in their quantised form: a quarter of the memory of decoded ones, and what is trained on is bit
//! for bit what is served with.

use crate::{CodecError, Layout, State};
use std::ops::Range;

/// States of n positions; all of them can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct States {
    layout: Layout,
    bytes: Vec<u8>,
}

impl States {
    /// From the bytes of whole states.
    ///
    /// # Errors
    /// [`CodecError`] when a part of a state is left over or a value is not finite.
    pub fn new(layout: Layout, bytes: Vec<u8>) -> Result<Self, CodecError> {
        for state in bytes.chunks(layout.bytes().max(1)) {
            layout.check(state)?;
        }
        Ok(Self { layout, bytes })
    }

    /// Encodes `taps` (n * layer_taps * hidden values of the raw residual stream) and `z` (n * hidden); what goes beyond
    /// the shorter of both is left out.
    #[must_use]
    pub fn encode(layout: Layout, taps: &[f32], z: &[f32]) -> Self {
        let mut bytes = Vec::new();
        let taps = taps.chunks_exact((layout.layer_taps * layout.hidden).max(1));
        for (taps, z) in taps.zip(z.chunks_exact(layout.hidden.max(1))) {
            layout.encode(taps, z, &mut bytes);
        }
        Self { layout, bytes }
    }

    /// n.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.layout.bytes().max(1)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Shape of each.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The quantised form.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds the states of `more`, which must be of the same layout; others are not added.
    pub fn extend(&mut self, more: &Self) {
        if more.layout == self.layout {
            self.bytes.extend_from_slice(&more.bytes);
        }
    }

    /// Keeps the first `n`.
    pub fn truncate(&mut self, n: usize) {
        self.bytes.truncate(n * self.layout.bytes());
    }

    /// The states of positions `range`, taps and z each in one piece, behind what `to` holds; positions that do not exist
    /// are left out.
    pub fn decode_into(&self, range: Range<usize>, to: &mut State) {
        for state in self.raw(range) {
            self.layout.decode_taps(state, &mut to.taps);
            self.layout.decode_z(state, &mut to.z);
        }
    }

    /// z of positions `range` behind what `to` holds, as [`Self::decode_into`].
    pub fn z_into(&self, range: Range<usize>, to: &mut Vec<f32>) {
        for state in self.raw(range) {
            self.layout.decode_z(state, to);
        }
    }

    /// z of all positions.
    #[must_use]
    pub fn z(&self) -> Vec<f32> {
        let mut z = Vec::with_capacity(self.len() * self.layout.hidden);
        self.z_into(0..self.len(), &mut z);
        z
    }

    fn raw(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(self.layout.bytes().max(1)).take(range.end).skip(range.start)
    }
}
