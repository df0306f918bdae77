//! Provenance of an answer's tokens as a compact blob: byte ranges of the text, in order, without gaps.

use super::{Result, VaultError};

const MARK_BYTES: usize = 13;
const SIDE: u8 = 1;
const CHANGED: u8 = 2;
const HAS_P: u8 = 4;

/// One token of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenMark {
    /// Byte range in the answer's text; empty inside a character that is split over tokens.
    pub start: u32,
    /// See `start`.
    pub end: u32,
    /// Token id.
    pub id: u32,
    /// Chosen by the device.
    pub side: bool,
    /// Differs from what base would have said.
    pub changed: bool,
    /// Gate probability, where a gate ran.
    pub p: Option<f32>,
}

/// Per token: length of its text, id, flags, p.
pub(super) fn to_bytes(marks: &[TokenMark]) -> Vec<u8> {
    let mut out = Vec::with_capacity(marks.len() * MARK_BYTES);
    for mark in marks {
        out.extend_from_slice(&(mark.end - mark.start).to_le_bytes());
        out.extend_from_slice(&mark.id.to_le_bytes());
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        out.push(flag(mark.side, SIDE) | flag(mark.changed, CHANGED) | flag(mark.p.is_some(), HAS_P));
        out.extend_from_slice(&mark.p.unwrap_or(0.0).to_le_bytes());
    }
    out
}

pub(super) fn from_bytes(bytes: &[u8]) -> Result<Vec<TokenMark>> {
    let mut start = 0u32;
    let marks = bytes.chunks(MARK_BYTES).map(|chunk| {
        let [l0, l1, l2, l3, i0, i1, i2, i3, flags, p0, p1, p2, p3] = <[u8; MARK_BYTES]>::try_from(chunk)
            .map_err(|_| VaultError::Damaged("an answer's marks".into()))?;
        let end = start.saturating_add(u32::from_le_bytes([l0, l1, l2, l3]));
        let mark = TokenMark {
            start,
            end,
            id: u32::from_le_bytes([i0, i1, i2, i3]),
            side: flags & SIDE != 0,
            changed: flags & CHANGED != 0,
            p: (flags & HAS_P != 0).then(|| f32::from_le_bytes([p0, p1, p2, p3])),
        };
        start = end;
        Ok(mark)
    });
    marks.collect()
}
