//! Who chose which bytes of an answer: a partition of its text by source, kept token by token.

use std::ops::Range;

use aside_daemon_api::proto;

/// Source of a piece of text; ordered by how much it matters to be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    /// Not the model's: names, bullets, the person's own words.
    #[default]
    None,
    /// Chosen by the backbone.
    Base,
    /// Chosen by the side network, the same as base would have.
    Side,
    /// Chosen by the side network, and different from base.
    Changed,
}

impl Mark {
    /// From the wire's two fields.
    pub(crate) fn of(source: proto::Source, changed: bool) -> Self {
        match (source, changed) {
            (proto::Source::Base, _) => Self::Base,
            (proto::Source::Side, false) => Self::Side,
            (proto::Source::Side, true) => Self::Changed,
        }
    }
}

/// A partition of `0..len` into marked ranges, in order, without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    parts: Vec<(Range<usize>, Mark)>,
}

impl Ranges {
    /// Ranges of stored spans over a text of `len` bytes: gaps are base, overlaps go to the earlier span.
    pub(crate) fn from_spans(spans: &[proto::Span], len: usize) -> Self {
        let mut ranges = Self::default();
        for span in spans {
            let start = (span.start as usize).min(len);
            ranges.push(start.saturating_sub(ranges.len()), Mark::Base);
            let end = (span.end as usize).min(len);
            ranges.push(end.saturating_sub(ranges.len()), Mark::of(span.source(), span.changed));
        }
        ranges.push(len.saturating_sub(ranges.len()), Mark::Base);
        ranges
    }

    /// Appends a token of `bytes` bytes. Changed tokens are never merged: each carries its own sign.
    pub(crate) fn push(&mut self, bytes: usize, mark: Mark) {
        let start = self.len();
        match self.parts.last_mut() {
            _ if bytes == 0 => {}
            Some((range, last)) if *last == mark && mark != Mark::Changed => range.end += bytes,
            _ => self.parts.push((start..start + bytes, mark)),
        }
    }

    /// Cuts to a text of `len` bytes, or fills up with base.
    pub(crate) fn fit(&mut self, len: usize) {
        self.parts.retain(|(range, _)| range.start < len);
        if let Some((range, _)) = self.parts.last_mut() {
            range.end = range.end.min(len);
        }
        self.push(len.saturating_sub(self.len()), Mark::Base);
    }

    /// Bytes covered.
    pub(crate) fn len(&self) -> usize {
        self.parts.last().map_or(0, |(range, _)| range.end)
    }

    /// The strongest mark in a range of bytes, and the start of the part it comes from.
    pub(crate) fn at(&self, bytes: Range<usize>) -> (Mark, usize) {
        let first = self.parts.partition_point(|(range, _)| range.end <= bytes.start);
        let touched = self
            .parts
            .iter()
            .skip(first)
            .take_while(|(range, _)| range.start < bytes.end.max(bytes.start + 1));
        touched.fold(
            (Mark::None, bytes.start),
            |best, (range, mark)| {
                if *mark > best.0 { (*mark, range.start) } else { best }
            },
        )
    }

    /// The parts, in order.
    #[cfg(test)]
    pub(crate) fn parts(&self) -> &[(Range<usize>, Mark)] {
        &self.parts
    }
}

/// What happened in one answer, counted in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    /// All tokens.
    pub(crate) tokens: u32,
    /// Of these, chosen by the side network.
    pub(crate) side: u32,
    /// Of the side tokens, different from base.
    pub(crate) changed: u32,
    /// Seconds from the first to the last token, or of the whole turn; 0 while unknown.
    pub(crate) seconds: f64,
}

impl Tally {
    /// The daemon's own count of a finished answer.
    pub(crate) fn of(done: &proto::AskDone) -> Self {
        let seconds = done.seconds.unwrap_or_default();
        Self {
            tokens: done.tokens,
            side: done.side,
            changed: done.changed,
            seconds: seconds.cloud + seconds.device + seconds.net,
        }
    }

    /// Counts one token.
    pub(crate) fn add(&mut self, mark: Mark) {
        self.tokens += 1;
        self.side += u32::from(mark >= Mark::Side);
        self.changed += u32::from(mark == Mark::Changed);
    }

    /// Tokens that base chose.
    pub(crate) fn base(&self) -> u32 {
        self.tokens.saturating_sub(self.side)
    }

    /// Open tokens / all tokens (method, section 7), or nothing without tokens.
    pub(crate) fn open_rate(&self) -> Option<f64> {
        (self.tokens > 0).then(|| f64::from(self.side) / f64::from(self.tokens))
    }

    /// Tokens per second, when the time is known.
    pub(crate) fn rate(&self) -> Option<f64> {
        (self.seconds > 0.0 && self.tokens > 0).then(|| f64::from(self.tokens) / self.seconds)
    }
}
