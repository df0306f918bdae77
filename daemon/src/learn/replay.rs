//! Which lessons take part when not all have room (method, section 5): half of the room for new ones, the rest for a
//! reservoir of the old. The same policy says what a training sees, which rows the memory keeps, and which states stay
//! cached. Pure: sizes in, ids out; the same lessons give the same choice.

use std::collections::BTreeSet;

use crate::vault::LessonSize;

/// Tokens that a training sees at most, in parts 0 to 2: train, early stop, held out. More of a person's tokens than this
/// make a training long rather than good.
pub(super) const ROOM: [usize; 3] = [20_000, 3_000, 10_000];
/// Rows of the memory: an open token costs about 0.7 ms with as many on one core.
pub(super) const ROWS: usize = 50_000;
const JUDGED: f64 = 0.5;

/// Whether a lesson is remembered and measures: what the person said or judged, not an unrated reply.
pub(super) fn judged(lesson: &LessonSize) -> bool {
    lesson.weight >= JUDGED
}

/// What a training sees: the newest measures, the reservoir trains.
pub(super) fn training(lessons: &[LessonSize], seen: i64) -> BTreeSet<i64> {
    let [train, stop, held_out] = ROOM;
    let of = |part: u8| -> Vec<LessonSize> {
        lessons.iter().filter(|l| l.part == part && (part == 0 || judged(l))).copied().collect()
    };
    let mut chosen = reservoir(&of(0), seen, train, |l| l.tokens);
    chosen.extend(newest(&of(1), stop));
    chosen.extend(newest(&of(2), held_out));
    chosen
}

/// The rows that the memory keeps.
pub(super) fn remembered(lessons: &[LessonSize], seen: i64) -> BTreeSet<i64> {
    let judged: Vec<LessonSize> = lessons.iter().filter(|l| judged(l)).copied().collect();
    reservoir(&judged, seen, ROWS, |l| l.tokens)
}

/// Lessons whose states have no room in a cache of `limit` bytes.
pub(super) fn evicted(lessons: &[LessonSize], seen: i64, limit: usize) -> BTreeSet<i64> {
    let kept = reservoir(lessons, seen, limit, |l| l.bytes);
    lessons.iter().map(|l| l.id).filter(|id| !kept.contains(id)).collect()
}

/// The newest ones, as far as there is room.
pub(super) fn newest(lessons: &[LessonSize], room: usize) -> BTreeSet<i64> {
    let mut left = room;
    let fits = |l: &&LessonSize| {
        let fits = l.tokens <= left;
        left -= if fits { l.tokens } else { 0 };
        fits
    };
    lessons.iter().rev().filter(fits).map(|l| l.id).collect()
}

/// All that have room; else lessons up to `seen` share half of it, newer ones the other, and what one side leaves the
/// other takes. Which of a side: by a draw that is fixed for each lesson, in which weight counts.
fn reservoir(
    lessons: &[LessonSize],
    seen: i64,
    room: usize,
    size: impl Fn(&LessonSize) -> usize,
) -> BTreeSet<i64> {
    let total: usize = lessons.iter().map(&size).sum();
    if total <= room {
        return lessons.iter().map(|l| l.id).collect();
    }
    let (mut old, mut new): (Vec<&LessonSize>, Vec<&LessonSize>) = lessons.iter().partition(|l| l.id <= seen);
    for side in [&mut old, &mut new] {
        side.sort_by(|a, b| draw(b).total_cmp(&draw(a)).then(a.id.cmp(&b.id)));
    }
    let sum = |side: &[&LessonSize]| side.iter().map(|l| size(l)).sum::<usize>();
    let for_old = (room - room / 2).max(room.saturating_sub(sum(&new)));
    let mut chosen = BTreeSet::new();
    let mut take = |side: &[&LessonSize], mut left: usize| {
        for lesson in side {
            let size = size(lesson);
            if size <= left {
                left -= size;
                chosen.insert(lesson.id);
            }
        }
        left
    };
    let left = take(&old, for_old);
    take(&new, room - for_old + left);
    chosen
}

/// Its lot in a weighted draw without replacement: `u^(1 / weight)` of a uniform u that its id gives; the highest win.
fn draw(lesson: &LessonSize) -> f64 {
    // SplitMix64.
    let mut n = lesson.id.cast_unsigned().wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let uniform = ((n ^ (n >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
    uniform.max(f64::MIN_POSITIVE).ln() / lesson.weight.max(1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lessons(n: i64, weight: f64) -> Vec<LessonSize> {
        (1..=n)
            .map(|id| LessonSize { id, weight, part: (id % 3) as u8, tokens: 10, bytes: 100, chat: true })
            .collect()
    }

    #[test]
    fn all_take_part_while_they_have_room() {
        let all = lessons(30, 1.0);
        assert_eq!(training(&all, 10).len(), 30);
        assert!(evicted(&all, 10, 3_000).is_empty());
        assert_eq!(remembered(&lessons(30, 0.05), 0).len(), 0);
    }

    #[test]
    fn new_lessons_get_half_of_the_room_and_what_the_old_leave() {
        let all = lessons(1_000, 1.0);
        let split = |seen: i64| {
            let kept = reservoir(&all, seen, 1_000, |l| l.tokens);
            (kept.iter().filter(|id| **id <= seen).count(), kept.iter().filter(|id| **id > seen).count())
        };
        assert_eq!(split(900), (50, 50));
        assert_eq!(split(20), (20, 80));
        assert_eq!(split(990), (90, 10));
        assert_eq!((split(0), split(1_000)), ((0, 100), (100, 0)));
    }

    #[test]
    fn the_reservoir_is_fair_by_weight_and_changes_little() {
        let mut all = lessons(2_000, 1.0);
        all.iter_mut().filter(|l| l.id % 2 == 0).for_each(|l| l.weight = 0.25);
        let kept = reservoir(&all, 2_000, 4_000, |l| l.tokens);
        let (light, heavy) =
            (kept.iter().filter(|id| **id % 2 == 0).count(), kept.iter().filter(|id| **id % 2 == 1).count());
        assert_eq!(light + heavy, 400);
        assert!(heavy > 2 * light && light > 40, "{light} {heavy}");
        // A hundred more lessons push out about as many as the share of them that is drawn.
        let more: Vec<_> =
            all.iter().copied().chain((2_001..2_101).map(|id| LessonSize { id, ..all[0] })).collect();
        let later = reservoir(&more, 2_100, 4_000, |l| l.tokens);
        assert!(kept.difference(&later).count() < 60);
    }

    #[test]
    fn the_newest_measure() {
        let all = lessons(9, 1.0);
        assert_eq!(newest(&all, 35), BTreeSet::from([7, 8, 9]));
        let big = [LessonSize { id: 1, weight: 1.0, part: 2, tokens: 99, bytes: 1, chat: true }];
        assert!(newest(&big, 35).is_empty());
    }
}
