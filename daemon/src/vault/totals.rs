//! Sums over the vault, for `aside stats` and the status line.

use super::adapters::TRAINED;
use super::{Result, Vault, meta_number};
use rusqlite::params;

/// Sums over all answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "counts and microseconds, named as on screen")]
pub struct Totals {
    pub conversations: u64,
    pub answers: u64,
    pub tokens: u64,
    pub open: u64,
    pub side: u64,
    pub changed: u64,
    pub transmissions: u64,
    pub cloud_us: u64,
    pub device_us: u64,
    pub net_us: u64,
    pub bytes_up: u64,
    pub bytes_down: u64,
    pub adapter_versions: u64,
    pub vault_bytes: u64,
}

/// Sums over the lessons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LessonTotals {
    /// Turns that are lessons.
    pub lessons: u64,
    /// Their tokens with states of the backbone in use.
    pub tokens: u64,
    /// Of these, tokens that the person said or judged and no training has seen.
    pub pending_tokens: u64,
    /// Size of the cached states.
    pub cached_bytes: u64,
    /// Lessons whose states were dropped to keep the cache below its limit.
    pub evicted: u64,
}

impl Vault {
    /// Sums over all answers.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn totals(&self) -> Result<Totals> {
        let vault_bytes = ["", "-wal"]
            .iter()
            .filter_map(|end| std::fs::metadata(format!("{}{end}", self.path().display())).ok())
            .map(|m| m.len())
            .sum();
        self.read(|c| {
            Ok(c.query_row(
                "SELECT (SELECT count(*) FROM conversation), count(tokens), total(tokens), total(open), total(side),
                 total(changed), total(transmissions), total(cloud_us), total(device_us), total(net_us),
                 total(bytes_up), total(bytes_down), (SELECT count(*) FROM adapter) FROM message",
                [],
                |r| {
                    let count = |column: usize| r.get::<_, i64>(column).map(i64::cast_unsigned);
                    let sum = |column: usize| r.get::<_, f64>(column).map(|v| v as u64);
                    Ok(Totals {
                        conversations: count(0)?,
                        answers: count(1)?,
                        tokens: sum(2)?,
                        open: sum(3)?,
                        side: sum(4)?,
                        changed: sum(5)?,
                        transmissions: sum(6)?,
                        cloud_us: sum(7)?,
                        device_us: sum(8)?,
                        net_us: sum(9)?,
                        bytes_up: sum(10)?,
                        bytes_down: sum(11)?,
                        adapter_versions: count(12)?,
                        vault_bytes,
                    })
                },
            )?)
        })
    }

    /// Sums over the lessons, for the backbone `model`.
    ///
    /// # Errors
    /// [`super::VaultError`].
    pub fn lesson_totals(&self, model: &str) -> Result<LessonTotals> {
        self.read(|c| {
            let trained = meta_number(c, TRAINED)?;
            Ok(c.query_row(
                "SELECT count(*), total(length(t.targets)) / 4, total(length(t.targets) * (l.id > ?2 AND l.weight >= 0.5)) / 4,
                 total(length(t.states)), total(t.evicted > 0) FROM lesson l LEFT JOIN state t ON t.lesson = l.id AND t.model = ?1",
                params![model, trained],
                |r| {
                    let sum = |column: usize| r.get::<_, f64>(column).map(|v| v as u64);
                    Ok(LessonTotals {
                        lessons: r.get::<_, i64>(0)?.cast_unsigned(),
                        tokens: sum(1)?,
                        pending_tokens: sum(2)?,
                        cached_bytes: sum(3)?,
                        evicted: sum(4)?,
                    })
                },
            )?)
        })
    }
}
