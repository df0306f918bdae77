//! Counter-based noise: Philox4x32-10 (Salmon et al., SC 2011) keyed by the conversation's seed. Both ends of the link
//! draw the same number for the same position and token, in any order.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// One block of Philox4x32-10.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let [c0, c1, c2, c3] = counter;
        let first = u64::from(MULTIPLIERS[0]) * u64::from(c0);
        let second = u64::from(MULTIPLIERS[1]) * u64::from(c2);
        counter = [high(second) ^ c1 ^ key[0], low(second), high(first) ^ c3 ^ key[1], low(first)];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

fn high(x: u64) -> u32 {
    (x >> 32) as u32
}

fn low(x: u64) -> u32 {
    x as u32
}

/// Where in a conversation the noise is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) seed: u64,
    pub(super) turn: u32,
    pub(super) attempt: u32,
    pub(super) index: u32,
}

/// Standard Gumbel noise of `token` at `place`: `-ln(-ln u)`, u uniform in (0, 1).
pub(super) fn gumbel(place: Place, token: u32) -> f32 {
    let key = [low(place.seed), high(place.seed)];
    let [word, ..] = philox([token, place.index, place.turn, place.attempt], key);
    // 24 bits and a half keep u strictly inside (0, 1) in f64.
    let uniform = (f64::from(word >> 8) + 0.5) / f64::from(1u32 << 24);
    (-(-uniform.ln()).ln()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution.
    #[test]
    fn philox_matches_the_published_vectors() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn gumbel_has_the_mean_and_variance_of_its_law() {
        let place = Place { seed: 7, turn: 1, attempt: 0, index: 3 };
        let draws: Vec<f64> = (0..200_000).map(|t| f64::from(gumbel(place, t))).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!((mean - 0.577_215_66).abs() < 0.01, "{mean}");
        assert!((variance - 1.644_934).abs() < 0.03, "{variance}");
    }
}
