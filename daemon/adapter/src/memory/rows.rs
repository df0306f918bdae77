//! The rows: keys are a seeded random projection of the normalised state, in 8 bits; search is exact.

use crate::rng::Rng;
use std::collections::BinaryHeap;

/// Length of a key.
pub(crate) const KEY: usize = 64;
/// Rows that vote.
pub(crate) const NEAREST: usize = 64;
/// Seed of the projection; a number that all builds share, so that stored keys stay good.
const PROJECTION: u64 = 0xA51D_E000;

/// A row near a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Neighbour {
    /// Squared distance of the keys.
    pub(crate) distance: f32,
    /// The token that followed.
    pub(crate) value: u32,
}

/// Keys with their values and the conversations they come from.
#[derive(Clone, PartialEq)]
pub(crate) struct Rows {
    /// Q, H x KEY; deviation 1 / sqrt(H), so that a key's square is near KEY whatever H is.
    projection: Vec<f32>,
    pub(crate) keys: Vec<i8>,
    pub(crate) scales: Vec<f32>,
    /// Squares of the quantised keys.
    squares: Vec<f32>,
    pub(crate) values: Vec<u32>,
    pub(crate) conversations: Vec<u64>,
}

/// A key in 8 bits.
struct Key {
    values: [i8; KEY],
    scale: f32,
    square: f32,
}

impl Rows {
    pub(crate) fn new(hidden: usize) -> Self {
        let mut rng = Rng::at(PROJECTION, &[hidden as u64]);
        let deviation = 1.0 / (hidden.max(1) as f64).sqrt();
        Self {
            projection: (0..hidden * KEY).map(|_| (rng.normal() * deviation) as f32).collect(),
            keys: Vec::new(),
            scales: Vec::new(),
            squares: Vec::new(),
            values: Vec::new(),
            conversations: Vec::new(),
        }
    }

    /// From stored parts of equal length; `None` when they are not.
    pub(crate) fn from_parts(
        hidden: usize,
        keys: Vec<i8>,
        scales: Vec<f32>,
        values: Vec<u32>,
        conversations: Vec<u64>,
    ) -> Option<Self> {
        let n = values.len();
        if keys.len() != n * KEY || scales.len() != n || conversations.len() != n {
            return None;
        }
        let squares = keys.as_chunks::<KEY>().0.iter().zip(&scales).map(|(k, s)| square(k, *s)).collect();
        Some(Self { keys, scales, squares, values, conversations, ..Self::new(hidden) })
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Adds a row: `value` followed the state `z` (H).
    pub(crate) fn push(&mut self, conversation: u64, value: u32, z: &[f32]) {
        let key = self.key(z);
        self.keys.extend_from_slice(&key.values);
        self.scales.push(key.scale);
        self.squares.push(key.square);
        self.values.push(value);
        self.conversations.push(conversation);
    }

    fn key(&self, z: &[f32]) -> Key {
        let mean = z.iter().map(|v| v * v).sum::<f32>() / z.len().max(1) as f32;
        let inverse = 1.0 / (mean + 1e-6).sqrt();
        let mut exact = [0f32; KEY];
        for (v, row) in z.iter().zip(self.projection.chunks_exact(KEY)) {
            exact.iter_mut().zip(row).for_each(|(k, q)| *k += v * inverse * q);
        }
        let largest = exact.iter().fold(0f32, |m, k| m.max(k.abs()));
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let values = exact.map(|k| (k / scale).round() as i8);
        Key { square: square(&values, scale), values, scale }
    }

    /// The [`NEAREST`] rows to `z` (H), nearest first, without those of the conversation `skip`.
    pub(crate) fn nearest(&self, z: &[f32], skip: Option<u64>) -> Vec<Neighbour> {
        let query = self.key(z);
        let mut nearest: BinaryHeap<Candidate> = BinaryHeap::with_capacity(NEAREST + 1);
        let rows = self.keys.as_chunks::<KEY>().0.iter().zip(&self.scales).zip(&self.squares);
        for (row, (((key, scale), square), conversation)) in rows.zip(&self.conversations).enumerate() {
            let dot = product(&query.values, key) as f32 * query.scale * scale;
            let distance = (query.square + square - 2.0 * dot).max(0.0);
            let far = nearest.len() == NEAREST && nearest.peek().is_some_and(|f| distance >= f.distance);
            if far || skip == Some(*conversation) {
                continue;
            }
            if nearest.len() == NEAREST {
                nearest.pop();
            }
            nearest.push(Candidate { distance, row });
        }
        let value = |c: Candidate| Some(Neighbour { distance: c.distance, value: *self.values.get(c.row)? });
        nearest.into_sorted_vec().into_iter().filter_map(value).collect()
    }
}

/// Ordered by distance, then by row, so that the same rows give the same neighbours.
#[derive(PartialEq)]
struct Candidate {
    distance: f32,
    row: usize,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.distance.total_cmp(&other.distance).then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn square(key: &[i8; KEY], scale: f32) -> f32 {
    product(key, key) as f32 * scale * scale
}

/// Sums of products, which the compiler turns into vector instructions.
fn product(a: &[i8; KEY], b: &[i8; KEY]) -> i32 {
    a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(seed: u64) -> Vec<f32> {
        let mut rng = Rng::at(seed, &[]);
        (0..96).map(|_| rng.normal() as f32 * 3.0).collect()
    }

    fn filled(rows: u64) -> Rows {
        let mut out = Rows::new(96);
        (0..rows).for_each(|i| out.push(i % 3, i as u32, &state(i)));
        out
    }

    #[test]
    fn finds_what_a_search_in_full_precision_finds() {
        let rows = filled(300);
        let query: Vec<f32> = state(7).iter().zip(state(1000)).map(|(a, b)| a + 0.3 * b).collect();
        let exact = |z: &[f32]| {
            let mean = z.iter().map(|v| v * v).sum::<f32>() / 96.0 + 1e-6;
            let column = |c: usize| -> f64 {
                let products = z.iter().zip(rows.projection.iter().skip(c).step_by(KEY));
                products.map(|(v, q)| f64::from(v * q)).sum::<f64>() / f64::from(mean).sqrt()
            };
            (0..KEY).map(column).collect::<Vec<f64>>()
        };
        let q = exact(&query);
        let mut all: Vec<(f64, u32)> = (0..300)
            .map(|i| {
                let k = exact(&state(i));
                (q.iter().zip(&k).map(|(a, b)| (a - b) * (a - b)).sum(), i as u32)
            })
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let found = rows.nearest(&query, None);
        assert_eq!(found.len(), NEAREST);
        assert!(found.is_sorted_by(|a, b| a.distance <= b.distance));
        assert_eq!((found[0].value, all[0].1), (7, 7));
        for n in &found {
            let (distance, _) = all.iter().find(|(_, value)| *value == n.value).unwrap();
            assert!((f64::from(n.distance) - distance).abs() < 0.02 * distance + 0.5, "{n:?} {distance}");
        }
        let near: Vec<u32> = all.iter().take(48).map(|(_, value)| *value).collect();
        assert!(near.iter().all(|value| found.iter().any(|n| n.value == *value)));
    }

    #[test]
    fn the_conversation_at_hand_is_left_out_and_parts_come_back() {
        let rows = filled(30);
        assert!(rows.nearest(&state(3), Some(0)).iter().all(|n| n.value % 3 != 0));
        assert!(Rows::new(96).nearest(&state(3), None).is_empty());
        let Rows { keys, scales, values, conversations, .. } = rows.clone();
        assert!(
            Rows::from_parts(96, keys[1..].to_vec(), scales.clone(), values.clone(), conversations.clone())
                .is_none()
        );
        let back = Rows::from_parts(96, keys, scales, values, conversations).unwrap();
        assert_eq!(back.nearest(&state(5), None), rows.nearest(&state(5), None));
    }
}
