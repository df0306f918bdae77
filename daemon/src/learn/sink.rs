//! Where the progress of learning goes: to the front end that asked, and into the status.

use aside_daemon_api::proto::{
    Forgotten, LearnDone, LearnEvent, LearnImported, LearnProgress, LearningState, learn_event::Event,
};
use tokio::sync::watch;

use super::report::Report;
use super::{Events, Progress};

/// Both ends.
pub(super) struct Sink<'a> {
    events: &'a Events<LearnEvent>,
    status: &'a watch::Sender<Progress>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(events: &'a Events<LearnEvent>, status: &'a watch::Sender<Progress>) -> Self {
        Self { events, status }
    }

    async fn send(&self, event: Event) {
        // A front end that is gone is noticed by the one who waits for that.
        let _ = self.events.send(Ok(LearnEvent { event: Some(event) })).await;
    }

    pub(super) async fn imported(&self, imported: LearnImported) {
        self.send(Event::Imported(imported)).await;
    }

    pub(super) async fn forgotten(&self, forgotten: Forgotten) {
        self.send(Event::Forgotten(forgotten)).await;
    }

    pub(super) async fn done(&self, done: LearnDone) {
        self.send(Event::Done(done)).await;
    }

    pub(super) fn progress(&self, phase: LearningState, done: u64, total: u64, detail: &str) {
        self.report(phase, Report { done, total, detail: detail.to_owned(), nll: None, gated: false });
    }

    /// Left out where the front end does not keep up: one that was stopped (Ctrl+Z) must not hold up learning.
    pub(super) fn report(&self, phase: LearningState, report: Report) {
        let fraction = report.done as f32 / report.total.max(1) as f32;
        self.status.send_replace(Progress { state: phase, fraction: fraction.clamp(0.0, 1.0) });
        let adapter = report.nll.map(|(_, adapter)| adapter);
        let mut progress = LearnProgress {
            done: report.done,
            total: report.total,
            detail: report.detail,
            nll_base: report.nll.map(|(base, _)| base),
            nll_gated: adapter.filter(|_| report.gated),
            nll_open: adapter.filter(|_| !report.gated),
            ..LearnProgress::default()
        };
        progress.set_phase(phase);
        let _ = self.events.try_send(Ok(LearnEvent { event: Some(Event::Progress(progress)) }));
    }
}
