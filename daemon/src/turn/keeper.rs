//! Saves an answer while it grows, so that a crash costs at most a second of it.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::vault::{TokenMark, Vault};

/// How much a crash may cost.
const EVERY: Duration = Duration::from_secs(1);

/// Writes one answer now and then; never two writes at a time, and never waited for.
pub struct Keeper {
    vault: Vault,
    answer: i64,
    last: Instant,
    running: Option<JoinHandle<()>>,
}

impl Keeper {
    /// For the answer of this row.
    #[must_use]
    pub fn new(vault: Vault, answer: i64) -> Self {
        Self { vault, answer, last: Instant::now(), running: None }
    }

    /// Saves what there is, when it is time.
    pub fn keep(&mut self, text: &str, marks: &[TokenMark]) {
        let busy = self.running.as_ref().is_some_and(|running| !running.is_finished());
        if busy || self.last.elapsed() < EVERY {
            return;
        }
        self.last = Instant::now();
        let (vault, answer, text, marks) = (self.vault.clone(), self.answer, text.to_owned(), marks.to_vec());
        self.running = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = vault.append_answer(answer, &text, &marks) {
                tracing::warn!(%error, "an answer could not be saved on the way");
            }
        }));
    }

    /// Waits for the write that runs.
    pub async fn settle(self) {
        if let Some(running) = self.running {
            let _ = running.await;
        }
    }
}
