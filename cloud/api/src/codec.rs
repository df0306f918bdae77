//! The tap codec: one position's layer taps and last hidden state as bytes, on the wire and in the vault's cache.
//!
//! A tap is RMS-normalised and stored as `hidden / 32` blocks of an f16 scale and 32 signed bytes (the layout of Q8_0).
//! The last hidden state z follows unnormalised in f16, because W (z + g) needs its magnitude (method, section 8).

use half::f16;

/// Values that share one scale.
pub const GROUP: usize = 32;
const BLOCK_BYTES: usize = 2 + GROUP;
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

/// A decoded state.
#[derive(Debug, Clone, PartialEq)]
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
        if bytes.len() != self.bytes() {
            return Err(CodecError::Length { expected: self.bytes(), found: bytes.len() });
        }
        let (tap_bytes, z_bytes) = bytes.split_at(bytes.len() - self.hidden * 2);
        let mut taps = Vec::with_capacity(self.layer_taps * self.hidden);
        for block in tap_bytes.chunks_exact(BLOCK_BYTES) {
            let (scale, values) = block.split_at(2);
            let scale = read_f16(scale)?;
            taps.extend(values.iter().map(|v| f32::from(i8::from_le_bytes([*v])) * scale));
        }
        let z = z_bytes.chunks_exact(2).map(read_f16).collect::<Result<_, _>>()?;
        Ok(State { taps, z })
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

fn read_f16(bytes: &[u8]) -> Result<f32, CodecError> {
    let array = <[u8; 2]>::try_from(bytes).map_err(|_| CodecError::NotFinite)?;
    let value = f16::from_le_bytes(array).to_f32();
    if value.is_finite() { Ok(value) } else { Err(CodecError::NotFinite) }
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
