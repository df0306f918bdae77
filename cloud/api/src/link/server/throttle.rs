//! Handshakes a second and source address: a pure count over one-second windows.

use std::collections::HashMap;
use std::net::IpAddr;

/// Sources remembered at once; the table is emptied every second.
const SOURCES: usize = 4096;

/// Counts of the current second.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    second: u64,
    counts: HashMap<IpAddr, u32>,
}

impl Throttle {
    /// Whether `source` may start a handshake in second `now`. A Unix socket (no address) always may.
    pub(super) fn admits(&mut self, source: Option<IpAddr>, now: u64, per_second: u32) -> bool {
        if self.second != now {
            self.second = now;
            self.counts.clear();
        }
        let Some(source) = source.map(network) else { return true };
        if self.counts.len() >= SOURCES && !self.counts.contains_key(&source) {
            return false;
        }
        let count = self.counts.entry(source).or_default();
        *count += 1;
        *count <= per_second
    }
}

/// One line of the other end: an IPv6 host has a whole /64 of addresses.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::from((u128::from(address) & !u128::from(u64::MAX)).to_be_bytes()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_held_back_until_the_next_second() {
        let mut throttle = Throttle::default();
        let (a, b) = (Some(IpAddr::from([1, 1, 1, 1])), Some(IpAddr::from([2, 2, 2, 2])));
        let admitted = (0..5).filter(|_| throttle.admits(a, 7, 3)).count();
        assert_eq!(admitted, 3);
        assert!(throttle.admits(b, 7, 3) && throttle.admits(None, 7, 0));
        assert!(throttle.admits(a, 8, 3));
        let six = |last| Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]));
        assert!(throttle.admits(six(1), 8, 1) && !throttle.admits(six(2), 8, 1));
    }
}
