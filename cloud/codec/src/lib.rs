//! What both sides must agree on bit by bit. [`budget`]: how open positions are counted. Here, the tap codec: one position's layer taps and last hidden state as bytes, on the wire, in the vault's cache and in a
//! training job.
//!
//! A tap is RMS-normalised and stored as `hidden / 32` blocks of an f16 scale and 32 signed bytes (the layout of Q8_0).
//! The last hidden state z follows unnormalised in f16, because W (z + g) needs its magnitude (method, section 8).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests"))]

pub mod budget;
mod states;

pub use states::States;

use half::f16;

/// Values that share one scale.
pub const GROUP: usize = 32;
/// Bytes of a block: an f16 scale and [`GROUP`] signed values.
pub const BLOCK_BYTES: usize = 2 + GROUP;
/// Added to the mean square before the root, as the side network's own normalisation does.
const RMS_EPSILON: f32 = 1e-6;

/// Why bytes are not a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The length does not match the layout.
    #[error("a state has {expected} bytes in this model, not {found}")]
    Length {
        /// Bytes of one state.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
    /// A scale or a value is infinite or not a number.
    #[error("a state holds a value that is not finite")]
    NotFinite,
}

/// Shape of a state: `layer_taps` taps and z, each of `hidden` values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// H, a multiple of [`GROUP`].
    pub hidden: usize,
    /// K without z.
    pub layer_taps: usize,
}

/// A decoded state, or several in a row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// `layer_taps * hidden` values, each tap with a root mean square near 1.
    pub taps: Vec<f32>,
    /// z, `hidden` values, unnormalised.
    pub z: Vec<f32>,
}

impl Layout {
    /// Bytes of one state.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.layer_taps * (self.hidden / GROUP) * BLOCK_BYTES + self.hidden * 2
    }

    /// Appends one state to `out`. `taps` holds `layer_taps * hidden` values of the raw residual stream, `z` holds
    /// `hidden`; values beyond the layout are ignored.
    pub fn encode(&self, taps: &[f32], z: &[f32], out: &mut Vec<u8>) {
        out.reserve(self.bytes());
        for tap in taps.chunks_exact(self.hidden).take(self.layer_taps) {
            let scale = inverse_rms(tap);
            for group in tap.chunks_exact(GROUP) {
                encode_group(group, scale, out);
            }
        }
        for value in z.iter().take(self.hidden) {
            out.extend_from_slice(&to_f16(*value).to_le_bytes());
        }
    }

    /// Reads one state.
    ///
    /// # Errors
    /// [`CodecError`] when the length is wrong or a value is not finite.
    pub fn decode(&self, bytes: &[u8]) -> Result<State, CodecError> {
        self.check(bytes)?;
        let mut state = State::default();
        self.decode_taps(bytes, &mut state.taps);
        self.decode_z(bytes, &mut state.z);
        Ok(state)
    }

    /// Whether these bytes are one state.
    fn check(&self, bytes: &[u8]) -> Result<(), CodecError> {
        if bytes.len() != self.bytes() {
            return Err(CodecError::Length { expected: self.bytes(), found: bytes.len() });
        }
        let (blocks, z) = self.parts(bytes);
        let scales = blocks.map(|(scale, _)| scale);
        if scales.chain(z).all(f32::is_finite) { Ok(()) } else { Err(CodecError::NotFinite) }
    }

    /// Appends the taps of a checked state.
    fn decode_taps(&self, bytes: &[u8], taps: &mut Vec<f32>) {
        widen(bytes.get(..self.layer_taps * (self.hidden / GROUP) * BLOCK_BYTES).unwrap_or(&[]), taps);
    }

    /// Appends z of a checked state.
    fn decode_z(&self, bytes: &[u8], z: &mut Vec<f32>) {
        z.extend(self.parts(bytes).1);
    }

    /// Scale and values of every block of the taps, and the values of z.
    fn parts<'a>(
        &self,
        bytes: &'a [u8],
    ) -> (impl Iterator<Item = (f32, &'a [u8; GROUP])>, impl Iterator<Item = f32>) {
        let (taps, z) = bytes.split_at(bytes.len().saturating_sub(self.hidden * 2));
        let z = z.as_chunks::<2>().0.iter().map(|value| f16::from_le_bytes(*value).to_f32());
        (blocks(taps), z)
    }
}

/// Scale and values (signed bytes) of every Q8_0 block.
pub fn blocks(bytes: &[u8]) -> impl Iterator<Item = (f32, &[u8; GROUP])> {
    bytes.as_chunks::<BLOCK_BYTES>().0.iter().filter_map(|block| {
        let (scale, values) = block.split_first_chunk::<2>()?;
        Some((f16::from_le_bytes(*scale).to_f32(), values.first_chunk::<GROUP>()?))
    })
}

/// Appends the values of Q8_0 blocks.
pub fn widen(bytes: &[u8], to: &mut Vec<f32>) {
    for (scale, values) in blocks(bytes) {
        to.extend(values.iter().map(|v| f32::from(i8::from_le_bytes([*v])) * scale));
    }
}

/// Passes z through f16, as the wire does, so that both ends multiply the same numbers by the head.
pub fn round_trip_z(z: &mut [f32]) {
    for value in z {
        *value = to_f16(*value).to_f32();
    }
}

fn inverse_rms(tap: &[f32]) -> f32 {
    let mean_square = tap.iter().map(|v| v * v).sum::<f32>() / tap.len() as f32;
    (mean_square + RMS_EPSILON).sqrt().recip()
}

fn encode_group(group: &[f32], scale: f32, out: &mut Vec<u8>) {
    let largest = group.iter().fold(0f32, |m, v| m.max((v * scale).abs()));
    let step = f16::from_f32(largest / 127.0);
    out.extend_from_slice(&step.to_le_bytes());
    let inverse = if step.to_f32() > 0.0 { step.to_f32().recip() } else { 0.0 };
    for value in group {
        let rounded = (value * scale * inverse).round().clamp(-127.0, 127.0);
        out.extend_from_slice(&(rounded as i8).to_le_bytes());
    }
}

/// Saturates instead of overflowing to infinity.
fn to_f16(value: f32) -> f16 {
    f16::from_f32(value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LAYOUT: Layout = Layout { hidden: 64, layer_taps: 3 };

    fn encode(taps: &[f32], z: &[f32]) -> Vec<u8> {
        let mut out = Vec::new();
        LAYOUT.encode(taps, z, &mut out);
        out
    }

    #[test]
    fn the_bundled_shape_takes_1872_bytes() {
        assert_eq!(Layout { hidden: 256, layer_taps: 5 }.bytes(), 5 * 8 * 34 + 512);
    }

    #[test]
    fn wrong_length_and_infinite_values_are_refused() {
        let bytes = encode(&[1.0; 192], &[2.0; 64]);
        assert!(matches!(LAYOUT.decode(&bytes[1..]), Err(CodecError::Length { .. })));
        let mut bad = bytes.clone();
        bad[0..2].copy_from_slice(&f16::INFINITY.to_le_bytes());
        assert_eq!(LAYOUT.decode(&bad), Err(CodecError::NotFinite));
        let mut bad = bytes;
        let end = bad.len();
        bad[end - 2..].copy_from_slice(&f16::NAN.to_le_bytes());
        assert_eq!(LAYOUT.decode(&bad), Err(CodecError::NotFinite));
    }

    #[test]
    fn a_zero_tap_stays_zero_and_a_huge_z_saturates() {
        let state = LAYOUT.decode(&encode(&[0.0; 192], &[1e9; 64])).unwrap();
        assert!(state.taps.iter().all(|v| *v == 0.0));
        assert!(state.z.iter().all(|v| *v == 65504.0));
    }

    #[test]
    fn several_states_read_like_each_of_them() {
        let value = |i: usize| (i as f32 * 0.7).sin() * 3.0;
        let taps: Vec<f32> = (0..3 * 192).map(value).collect();
        let z: Vec<f32> = (900..900 + 3 * 64).map(value).collect();
        let mut states = States::encode(LAYOUT, &taps, &z);
        assert_eq!((states.len(), states.bytes().len()), (3, 3 * LAYOUT.bytes()));
        assert_eq!(States::new(LAYOUT, states.bytes().to_vec()).unwrap(), states);
        let mut found = State::default();
        states.decode_into(1..9, &mut found);
        let single =
            |i: usize| LAYOUT.decode(&states.bytes()[i * LAYOUT.bytes()..][..LAYOUT.bytes()]).unwrap();
        assert_eq!(found.taps, [single(1).taps, single(2).taps].concat());
        assert_eq!(found.z, [single(1).z, single(2).z].concat());
        assert_eq!(states.z(), [single(0).z, single(1).z, single(2).z].concat());
        let cut = states.bytes()[..states.bytes().len() - 1].to_vec();
        assert!(matches!(States::new(LAYOUT, cut), Err(CodecError::Length { .. })));
        let more = states.clone();
        states.extend(&more);
        assert_eq!(states.len(), 6);
        states.truncate(3);
        assert_eq!(states, more);
    }

    proptest! {
        #[test]
        fn values_come_back_within_half_a_step(
            taps in proptest::collection::vec(-50f32..50.0, 192),
            mut z in proptest::collection::vec(-300f32..300.0, 64),
        ) {
            let state = LAYOUT.decode(&encode(&taps, &z)).unwrap();
            round_trip_z(&mut z);
            prop_assert_eq!(&state.z, &z);
            for (tap, decoded) in taps.chunks(64).zip(state.taps.chunks(64)) {
                let scale = inverse_rms(tap);
                for (group, back) in tap.chunks(GROUP).zip(decoded.chunks(GROUP)) {
                    let step = group.iter().fold(0f32, |m, v| m.max((v * scale).abs())) / 127.0;
                    for (a, b) in group.iter().zip(back) {
                        prop_assert!((a * scale - b).abs() <= 0.57 * step + 1e-6);
                    }
                }
            }
        }
    }
}
