//! What one answer took, counted from what happened.

use std::time::Duration;

use crate::vault::AnswerStats;

/// Sums of one answer so far (method, section 7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Tokens chosen, the one that ends the answer included.
    pub tokens: u64,
    /// Positions whose state was shipped.
    pub transmissions: u64,
    /// Positions where the gate (or the variant) let the side network choose.
    pub side: u64,
    /// Of these, tokens that differ from what base would have said.
    pub changed: u64,
    /// Compute time of the cloud in microseconds, as it reports it.
    pub cloud_us: u64,
    /// Compute time of the device in microseconds.
    pub device_us: u64,
    /// Time from the question to the end, in microseconds.
    pub wall_us: u64,
    /// Bytes sent to the cloud.
    pub bytes_up: u64,
    /// Bytes received from the cloud.
    pub bytes_down: u64,
}

impl Account {
    /// Time spent waiting on the link: what neither end computed.
    #[must_use]
    pub fn net_us(&self) -> u64 {
        self.wall_us.saturating_sub(self.cloud_us).saturating_sub(self.device_us)
    }

    /// Adds time the device computed.
    pub fn device(&mut self, spent: Duration) {
        self.device_us += micros(spent);
    }

    /// As the vault keeps it.
    #[must_use]
    pub fn stats(&self, adapter: u64, reason: &str) -> AnswerStats {
        AnswerStats {
            tokens: self.tokens,
            open: self.side,
            side: self.side,
            changed: self.changed,
            transmissions: self.transmissions,
            cloud_us: self.cloud_us,
            device_us: self.device_us,
            net_us: self.net_us(),
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
            adapter,
            reason: reason.to_owned(),
        }
    }
}

pub(super) fn micros(spent: Duration) -> u64 {
    u64::try_from(spent.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_gets_what_nobody_computed_and_never_less_than_nothing() {
        let account = Account { wall_us: 100, cloud_us: 30, device_us: 20, ..Account::default() };
        assert_eq!(account.net_us(), 50);
        assert_eq!(Account { wall_us: 10, cloud_us: 30, ..account }.net_us(), 0);
    }
}
