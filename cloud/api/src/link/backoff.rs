//! How long to wait before the next attempt to connect: a pure function of the attempt, with jitter from a seed.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(40);
const LONGEST: Duration = Duration::from_secs(15);
/// After a refusal, which a person must mend.
const REFUSED: Duration = Duration::from_secs(10);

/// Before attempt `attempt` (from 0): doubling, capped, and spread over its upper half by `seed`.
pub(super) fn delay(attempt: u32, seed: u64) -> Duration {
    let full = FIRST.saturating_mul(1 << attempt.min(16)).min(LONGEST);
    let mixed = (seed ^ u64::from(attempt)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    full / 2 + (full / 2).mul_f64(mixed as f64 / (1u64 << 24) as f64)
}

/// After a refusal.
pub(super) fn refused() -> Duration {
    REFUSED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_a_cap_and_is_spread() {
        for seed in 0..50 {
            assert!(delay(0, seed) <= FIRST && delay(0, seed) >= FIRST / 2);
            assert!(delay(4, seed) >= delay(0, seed));
            assert!(delay(u32::MAX, seed) <= LONGEST && delay(60, seed) >= LONGEST / 2);
        }
        assert_ne!(delay(9, 1), delay(9, 2));
        assert!(refused() <= LONGEST);
    }
}
