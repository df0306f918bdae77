//! How far a long command is: a bar on a terminal, lines elsewhere, events for scripts.

use std::io::{self, IsTerminal};
use std::time::Duration;

use aside_daemon_api::proto::{LearnProgress, LearningState};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::events::{self, Event};
use super::output;

/// Shows progress in the way that fits.
pub(crate) enum Meter {
    /// One event a line on stdout.
    Events,
    /// A bar on stderr.
    Bar(ProgressBar),
    /// A line on stderr for every phase and every tenth of it.
    Lines(Option<(LearningState, u64)>),
    /// Nothing.
    Silent,
}

impl Meter {
    /// For a command that prints `json` events or text for people.
    pub(crate) fn new(json: bool) -> Self {
        if json { Self::Events } else { Self::on_stderr() }
    }

    /// Never on stdout, whatever that is for.
    pub(crate) fn on_stderr() -> Self {
        if !io::stderr().is_terminal() {
            return Self::Lines(None);
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        // The template is constant; should it ever be wrong, the plain bar serves.
        if let Ok(style) = ProgressStyle::with_template("{prefix:10} {bar:30} {percent:>3} %  {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self::Bar(bar)
    }

    /// Shows one report.
    pub(crate) fn show(&mut self, progress: &LearnProgress) -> io::Result<()> {
        match self {
            Self::Events => output::json(&Event::progress(progress))?,
            Self::Bar(bar) => {
                bar.set_prefix(events::phase(progress.phase()));
                bar.set_length(progress.total);
                bar.set_position(progress.done);
                bar.set_message(detail(progress));
            }
            Self::Lines(last) => {
                let now = (progress.phase(), tenth(progress));
                if last.replace(now) != Some(now) {
                    output::notice(&sentence(progress));
                }
            }
            Self::Silent => {}
        }
        Ok(())
    }

    /// Something to tell beside the bar.
    pub(crate) fn tell(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.suspend(|| output::notice(text)),
            Self::Events | Self::Lines(_) => output::notice(text),
            Self::Silent => {}
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn tenth(progress: &LearnProgress) -> u64 {
    (progress.done * 10).checked_div(progress.total).unwrap_or(0)
}

fn sentence(progress: &LearnProgress) -> String {
    let phase = events::phase(progress.phase());
    let share = (progress.done * 100)
        .checked_div(progress.total)
        .map_or_else(String::new, |percent| format!(": {percent} %"));
    let detail = detail(progress);
    let gap = if detail.is_empty() { "" } else { "  " };
    format!("{phase}{share}{gap}{detail}")
}

fn detail(progress: &LearnProgress) -> String {
    let adapter = progress.nll_gated.map(|nll| ("gated", nll));
    let adapter = adapter.or(progress.nll_open.map(|nll| ("always open", nll)));
    let numbers = progress.nll_base.zip(adapter);
    let numbers =
        numbers.map(|(base, (what, nll))| format!("base {base:.3}, {what} {nll:.3} nats per token"));
    let parts = [Some(progress.detail.clone()).filter(|text| !text.is_empty()), numbers];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_phase_share_and_numbers() {
        let mut progress = LearnProgress { done: 1, total: 8, ..Default::default() };
        progress.set_phase(LearningState::Training);
        assert_eq!(sentence(&progress), "training: 12 %");
        (progress.nll_base, progress.nll_gated) = (Some(3.25), Some(3.0));
        progress.detail = "epoch 2".into();
        assert_eq!(sentence(&progress), "training: 12 %  epoch 2; base 3.250, gated 3.000 nats per token");
        (progress.nll_gated, progress.nll_open) = (None, Some(2.5));
        assert!(sentence(&progress).ends_with("base 3.250, always open 2.500 nats per token"));
        let unknown = LearnProgress::default();
        assert_eq!((sentence(&unknown).as_str(), tenth(&unknown)), ("waiting", 0));
    }
}
