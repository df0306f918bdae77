//! How much of an answer may be open: a share that holds for every answer, whatever the gate was calibrated on.

/// Open positions that an answer may have ahead of its share: a short one may well be a person's own in every word. With 4,
/// a gate that is calibrated to 50 % opened 43 % of 14 persona users' tokens, for half a point of what it gains.
pub const AHEAD: u32 = 8;

/// Whether position `index` (from 0) may be open where `opened` before it were: after every n positions at most
/// `budget * n` + [`AHEAD`] are. Both ends compute it, so that a resumed answer is the same. 0, like anything from 1 on,
/// sets no limit.
#[must_use]
pub fn allows(budget: f32, index: u32, opened: u32) -> bool {
    let limited = budget > 0.0 && budget < 1.0;
    !limited || f64::from(opened) + 1.0 <= f64::from(budget) * (f64::from(index) + 1.0) + f64::from(AHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greedy_answer_stays_within_its_share_and_none_is_no_limit() {
        for budget in [0.1, 0.4, 0.8] {
            let mut opened = 0;
            for index in 0..500 {
                opened += u32::from(allows(budget, index, opened));
                assert!(f64::from(opened) <= f64::from(budget) * f64::from(index + 1) + f64::from(AHEAD));
            }
            assert!(f64::from(opened) > f64::from(budget) * 500.0, "{budget}: {opened}");
        }
        assert!([0.0, 1.0, 2.0, -1.0, f32::NAN].iter().all(|budget| allows(*budget, 9, 9)));
    }
}
