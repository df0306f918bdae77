//! What a backbone says about itself: identity, shape, and which layers are tapped.

use aside_cloud_api::codec::Layout;

/// Shape and identity of a loaded backbone.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Lower-case hex SHA-256 over configuration and weights.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// H.
    pub hidden: usize,
    /// V.
    pub vocab: usize,
    /// L.
    pub layers: usize,
    /// Tapped layers, 1-based and rising; z follows them as the last tap.
    pub taps: Vec<usize>,
    /// Longest sequence in positions.
    pub context: usize,
    /// Length the backbone was trained on; learning encodes windows of that.
    pub window: usize,
    /// Parameters of the backbone.
    pub parameters: u64,
    /// How a position's taps and z travel.
    pub layout: Layout,
    /// Token ids that end an answer.
    pub stop: Vec<u32>,
}

/// The tapped layers of a decoder with `layers` layers (method, section 3): about L/4, L/2, 5L/8, 3L/4 and 7L/8; of a
/// smaller decoder every layer but the last, at most five. z is a tap of its own, so the last layer is none.
#[must_use]
pub fn tap_layers(layers: usize) -> Vec<usize> {
    let mut taps: Vec<usize> = [2, 4, 5, 6, 7]
        .iter()
        .map(|eighths| (layers * eighths).div_ceil(8))
        .filter(|l| *l < layers)
        .collect();
    taps.dedup();
    if taps.is_empty() { vec![layers] } else { taps }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_layers_are_tapped_as_the_method_says() {
        assert_eq!(tap_layers(8), [2, 4, 5, 6, 7]);
        assert_eq!(tap_layers(32), [8, 16, 20, 24, 28]);
    }

    #[test]
    fn small_and_odd_decoders_have_rising_taps_below_the_last_layer() {
        for layers in 2..100 {
            let taps = tap_layers(layers);
            assert!(taps.windows(2).all(|pair| pair[0] < pair[1]), "{layers}: {taps:?}");
            assert!(taps.iter().all(|tap| (1..layers).contains(tap)), "{layers}: {taps:?}");
        }
        assert_eq!(tap_layers(1), [1]);
    }
}
