//! The rows: keys are the normalised state, turned and in 8 bits; search is exact up to [`EXACT`] rows, beyond that the
//! first part of the keys chooses who is compared in full.
//!
//! Width matters: with 64 numbers of a random projection instead of all 256 of the bundled backbone the memory alone,
//! always open, lowers the NLL of 7 persona users by 5.5 % instead of 7.2 %.

use super::projection::Projection;
use crate::simd::wide;
use std::collections::BinaryHeap;

/// Numbers that are compared at once, and of the first part of a key.
pub(super) const PART: usize = 64;
/// Rows that vote.
pub(crate) const NEAREST: usize = 64;
/// Rows up to which all keys are compared in full.
pub(crate) const EXACT: usize = 10_000;
/// Beyond that, rows whose keys are compared in full.
const CANDIDATES: usize = 512;

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
    pub(crate) projection: Projection,
    /// Numbers of a key, a multiple of [`PART`].
    pub(crate) width: usize,
    /// The first [`PART`] numbers of every key, and the others.
    first: Vec<[i8; PART]>,
    rest: Vec<[i8; PART]>,
    pub(crate) scales: Vec<f32>,
    /// Squares of the quantised keys: of the first part, of the whole.
    squares: Vec<[f32; 2]>,
    pub(crate) values: Vec<u32>,
    pub(crate) conversations: Vec<u64>,
}

/// A key in 8 bits.
struct Key {
    parts: Vec<[i8; PART]>,
    scale: f32,
    squares: [f32; 2],
}

impl Key {
    fn of(parts: Vec<[i8; PART]>, scale: f32) -> Self {
        let square = |parts: &[[i8; PART]]| {
            parts.iter().map(|part| product(part, part)).sum::<i32>() as f32 * scale * scale
        };
        let squares = [square(parts.get(..1).unwrap_or(&[])), square(&parts)];
        Self { parts, scale, squares }
    }
}

impl Rows {
    /// None yet.
    pub(crate) fn new(projection: Projection) -> Self {
        Self {
            width: projection.width,
            projection,
            first: Vec::new(),
            rest: Vec::new(),
            scales: Vec::new(),
            squares: Vec::new(),
            values: Vec::new(),
            conversations: Vec::new(),
        }
    }

    /// From stored parts of equal length; `None` when they are not, or when the keys are of another width.
    pub(crate) fn from_parts(
        projection: Projection,
        keys: &[i8],
        scales: &[f32],
        values: Vec<u32>,
        conversations: Vec<u64>,
    ) -> Option<Self> {
        let (mut rows, n) = (Self::new(projection), values.len());
        if keys.len() != n * rows.width || scales.len() != n || conversations.len() != n {
            return None;
        }
        for (key, scale) in keys.chunks_exact(rows.width).zip(scales) {
            rows.append(Key::of(key.as_chunks::<PART>().0.to_vec(), *scale));
        }
        Some(Self { values, conversations, ..rows })
    }

    /// All keys, row by row.
    pub(crate) fn keys(&self) -> impl Iterator<Item = i8> {
        let others = self.width / PART - 1;
        let rest = move |row: usize| self.rest.get(row * others..(row + 1) * others).unwrap_or(&[]);
        self.first
            .iter()
            .enumerate()
            .flat_map(move |(row, first)| [first].into_iter().chain(rest(row)).flatten().copied())
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Adds a row: `value` followed the state `z` (H).
    pub(crate) fn push(&mut self, conversation: u64, value: u32, z: &[f32]) {
        let key = self.key(z);
        self.append(key);
        self.values.push(value);
        self.conversations.push(conversation);
    }

    fn append(&mut self, key: Key) {
        if let Some((first, rest)) = key.parts.split_first() {
            self.first.push(*first);
            self.rest.extend_from_slice(rest);
        }
        self.scales.push(key.scale);
        self.squares.push(key.squares);
    }

    /// Drops the rows of a conversation; how many.
    pub(crate) fn forget(&mut self, conversation: u64) -> usize {
        let (before, others) = (self.len(), self.width / PART - 1);
        let none = Self::new(self.projection.clone());
        let old = std::mem::replace(self, none);
        let rest = |row: usize| old.rest.get(row * others..(row + 1) * others).unwrap_or(&[]);
        let rows = old.first.into_iter().zip(old.scales).zip(old.values).zip(old.conversations).enumerate();
        for (row, (((first, scale), value), of)) in rows.filter(|(_, (_, of))| *of != conversation) {
            self.append(Key::of([&[first], rest(row)].concat(), scale));
            self.values.push(value);
            self.conversations.push(of);
        }
        before - self.len()
    }

    fn key(&self, z: &[f32]) -> Key {
        let exact = self.projection.key(z);
        let largest = exact.iter().fold(0f32, |m, k| m.max(k.abs()));
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let parts = exact.as_chunks::<PART>().0.iter().map(|part| part.map(|k| (k / scale).round() as i8));
        Key::of(parts.collect(), scale)
    }

    /// The [`NEAREST`] rows to `z` (H), nearest first, without those of the conversation `skip`.
    pub(crate) fn nearest(&self, z: &[f32], skip: Option<u64>) -> Vec<Neighbour> {
        let query = self.key(z);
        let mut best = Best::new(NEAREST);
        let skipped = |row: usize| skip.is_some() && self.conversations.get(row).copied() == skip;
        let first = query
            .parts
            .first()
            .map_or_else(Vec::new, |part| wide(Products { query: part, rows: &self.first }));
        if self.len() <= EXACT {
            let all = (0..self.len()).filter(|row| !skipped(*row));
            all.filter_map(|row| self.candidate(&query, &first, row)).for_each(|c| best.offer(c));
        } else {
            let near = self.near(&query, &first, skipped).heap.into_iter();
            near.filter_map(|c| self.candidate(&query, &first, c.row)).for_each(|c| best.offer(c));
        }
        let value = |c: Candidate| Some(Neighbour { distance: c.distance, value: *self.values.get(c.row)? });
        best.heap.into_sorted_vec().into_iter().filter_map(value).collect()
    }
}

impl Rows {
    /// A row with the distance of its whole key; `first` are the products of the first parts.
    fn candidate(&self, query: &Key, first: &[i32], row: usize) -> Option<Candidate> {
        let others = self.width / PART - 1;
        let rest = query.parts.get(1..)?.iter().zip(self.rest.get(row * others..(row + 1) * others)?);
        let dot = first.get(row)? + rest.map(|(a, b)| product(a, b)).sum::<i32>();
        let square = query.squares[1] + self.squares.get(row)?[1];
        let distance = square - 2.0 * (dot as f32 * query.scale * self.scales.get(row)?);
        Some(Candidate { distance: distance.max(0.0), row })
    }

    /// Rows whose keys begin like the query.
    fn near(&self, query: &Key, first: &[i32], skipped: impl Fn(usize) -> bool) -> Best {
        let mut near = Best::new(CANDIDATES);
        let mut farthest = f32::INFINITY;
        for (row, ((dot, scale), [square, _])) in
            first.iter().zip(&self.scales).zip(&self.squares).enumerate()
        {
            let distance = square - 2.0 * (*dot as f32 * query.scale * scale);
            if distance < farthest && !skipped(row) {
                near.offer(Candidate { distance, row });
                farthest = near.farthest();
            }
        }
        near
    }
}

/// Products of a query with the first parts of all rows. Whole numbers: the same on every processor.
struct Products<'a> {
    query: &'a [i8; PART],
    rows: &'a [[i8; PART]],
}

impl pulp::NullaryFnOnce for Products<'_> {
    type Output = Vec<i32>;

    #[inline(always)]
    fn call(self) -> Vec<i32> {
        self.rows.iter().map(|row| product(self.query, row)).collect()
    }
}

/// The nearest so many.
struct Best {
    heap: BinaryHeap<Candidate>,
    most: usize,
}

impl Best {
    fn new(most: usize) -> Self {
        Self { heap: BinaryHeap::with_capacity(most + 1), most }
    }

    /// Distance from which nobody is taken any more.
    fn farthest(&self) -> f32 {
        let full = self.heap.len() == self.most;
        self.heap.peek().filter(|_| full).map_or(f32::INFINITY, |c| c.distance)
    }

    fn offer(&mut self, candidate: Candidate) {
        if self.heap.len() < self.most {
            self.heap.push(candidate);
        } else if self.heap.peek().is_some_and(|farthest| candidate < *farthest) {
            self.heap.pop();
            self.heap.push(candidate);
        }
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

/// A sum of products, which the compiler turns into vector instructions.
#[inline(always)]
fn product(a: &[i8; PART], b: &[i8; PART]) -> i32 {
    a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn empty() -> Rows {
        Rows::new(Projection::seeded(96))
    }

    fn state(seed: u64) -> Vec<f32> {
        let mut rng = Rng::at(seed, &[]);
        (0..96).map(|_| rng.normal() as f32 * 3.0).collect()
    }

    fn filled(rows: u64) -> Rows {
        let mut out = empty();
        (0..rows).for_each(|i| out.push(i % 3, i as u32, &state(i)));
        out
    }

    #[test]
    fn finds_what_a_search_in_full_precision_finds() {
        let rows = filled(300);
        let query: Vec<f32> = state(7).iter().zip(state(1000)).map(|(a, b)| a + 0.3 * b).collect();
        let exact = |z: &[f32]| rows.projection.key(z).into_iter().map(f64::from).collect::<Vec<f64>>();
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
        assert!(empty().nearest(&state(3), None).is_empty());
        let (keys, scales): (Vec<i8>, _) = (rows.keys().collect(), rows.scales.clone());
        let parts = |keys: &[i8]| {
            Rows::from_parts(
                Projection::seeded(96),
                keys,
                &scales,
                rows.values.clone(),
                rows.conversations.clone(),
            )
        };
        assert!(parts(&keys[1..]).is_none());
        let back = parts(&keys).unwrap();
        assert!(back == rows);
        assert_eq!(back.nearest(&state(5), None), rows.nearest(&state(5), None));
    }

    #[test]
    fn what_is_forgotten_votes_no_more_and_the_others_stay_as_they_were() {
        let mut rows = filled(60);
        let expected = rows.nearest(&state(1), Some(1));
        assert_eq!(rows.forget(1), 20);
        assert_eq!((rows.len(), rows.forget(1)), (40, 0));
        assert_eq!(rows.nearest(&state(1), None), expected);
    }

    #[test]
    fn a_large_memory_still_finds_almost_all_of_the_nearest() {
        // States in clumps, as those of a language are.
        let clump = |i: u64| -> Vec<f32> {
            state(5_000_000 + i % 200).iter().zip(state(i)).map(|(c, own)| c + 0.5 * own).collect()
        };
        let mut rows = empty();
        (0..EXACT as u64).for_each(|i| rows.push(0, i as u32, &clump(i)));
        let exact: Vec<_> = (0..20).map(|i| rows.nearest(&clump(700_000 + i), None)).collect();
        // Rows far from everything change no neighbour, but make the memory a large one.
        let far: Vec<f32> = state(9).iter().map(|v| -v).collect();
        (0..10).for_each(|_| rows.push(0, u32::MAX, &far));
        let found = (0..20).map(|i| rows.nearest(&clump(700_000 + i), None));
        let same: usize = found.zip(&exact).map(|(f, e)| e.iter().filter(|n| f.contains(n)).count()).sum();
        assert!(same as f64 > 0.97 * 20.0 * NEAREST as f64, "{same}");
    }
}
