//! The key/value cache of one sequence: per layer the rotated keys and the values, position after position.

/// Keys and values of one layer, `positions * width` values each.
#[derive(Default)]
pub(super) struct LayerCache {
    /// After norm and rotation.
    pub(super) keys: Vec<f32>,
    /// As projected.
    pub(super) values: Vec<f32>,
}

/// All layers of one sequence.
pub(super) struct Cache {
    /// First layer first.
    pub(super) layers: Vec<LayerCache>,
    /// Positions that are complete in every layer.
    pub(super) len: usize,
    width: usize,
}

impl Cache {
    /// An empty cache; `width` is key/value heads times values per head.
    pub(super) fn new(layers: usize, width: usize) -> Self {
        Self { layers: (0..layers).map(|_| LayerCache::default()).collect(), len: 0, width }
    }

    /// Keeps `n` positions, and drops whatever a failed step left behind.
    pub(super) fn truncate(&mut self, n: usize) {
        for layer in &mut self.layers {
            layer.keys.truncate(n * self.width);
            layer.values.truncate(n * self.width);
        }
        self.len = self.len.min(n);
    }
}
