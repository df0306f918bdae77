//! What an adapter is worth on given turns (method, section 7).

use crate::adapter::Adapter;
use crate::error::Result;
use crate::head::Head;
use crate::job::Turn;
use crate::loss::score;
use crate::memory::Mixed;
use crate::simd::log_softmax;
use aside_codec::State;

/// Positions scored at once.
const CHUNK: usize = 32;

/// Means over tokens; nats where they are losses.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Evaluation {
    /// Tokens of message text and end markers.
    pub tokens: u64,
    /// Loss of base.
    pub nll_base: f64,
    /// Loss with every position open.
    pub nll_open: f64,
    /// Loss with the gate's choice.
    pub nll_gated: f64,
    /// `nll_gated + lambda * open_rate`.
    pub gated_cost: f64,
    /// Share of open positions.
    pub open_rate: f64,
    /// Share of positions where the most probable tokens of base and fused differ.
    pub diff_rate: f64,
    /// Share of positions that differ and are open.
    pub diff_pick_rate: f64,
    /// Counts by (differs, open).
    pub differs_open: [[u64; 2]; 2],
}

/// One token, scored.
pub(crate) struct Scored {
    pub(crate) base: f64,
    pub(crate) open: f64,
    pub(crate) differs: bool,
    pub(crate) sigma: bool,
}

/// Scores `turns` with `adapter`, or with base alone.
///
/// # Errors
/// [`crate::AdapterError::Shape`] when states do not match adapter or head.
pub fn evaluate<'a>(
    adapter: Option<&Adapter>,
    head: &Head,
    turns: impl IntoIterator<Item = &'a Turn>,
    lambda: f64,
) -> Result<Evaluation> {
    let mut sum = Evaluation::default();
    for turn in turns {
        for scored in score_turn(adapter, head, turn)? {
            sum.tokens += 1;
            sum.nll_base += scored.base;
            sum.nll_open += scored.open;
            sum.nll_gated += if scored.sigma { scored.open } else { scored.base };
            let row = sum.differs_open.get_mut(usize::from(scored.differs));
            if let Some(count) = row.and_then(|r| r.get_mut(usize::from(scored.sigma))) {
                *count += 1;
            }
        }
    }
    Ok(sum.averaged(lambda))
}

/// Gate probability and gain `l_b - l_f` in nats of every token; for measuring the gate.
///
/// # Errors
/// As [`evaluate`].
pub fn gate_scores<'a>(
    adapter: &Adapter,
    head: &Head,
    turns: impl IntoIterator<Item = &'a Turn>,
) -> Result<Vec<(f32, f64)>> {
    let mut out = Vec::new();
    for turn in turns {
        let z = turn.states.z();
        let p = z.chunks_exact(head.hidden()).map(|z| adapter.gate().map_or(0.0, |g| g.probability(z)));
        let gains = score_turn(Some(adapter), head, turn)?.into_iter().map(|s| s.base - s.open);
        out.extend(p.zip(gains));
    }
    Ok(out)
}

impl Evaluation {
    /// Both together: means over the tokens of both.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        let n = (self.tokens + other.tokens).max(1) as f64;
        let (a, b) = (self.tokens as f64 / n, other.tokens as f64 / n);
        let mut counts = self.differs_open;
        for (count, more) in counts.iter_mut().flatten().zip(other.differs_open.iter().flatten()) {
            *count += more;
        }
        Self {
            tokens: self.tokens + other.tokens,
            nll_base: a * self.nll_base + b * other.nll_base,
            nll_open: a * self.nll_open + b * other.nll_open,
            nll_gated: a * self.nll_gated + b * other.nll_gated,
            gated_cost: a * self.gated_cost + b * other.gated_cost,
            open_rate: a * self.open_rate + b * other.open_rate,
            diff_rate: a * self.diff_rate + b * other.diff_rate,
            diff_pick_rate: a * self.diff_pick_rate + b * other.diff_pick_rate,
            differs_open: counts,
        }
    }

    fn averaged(mut self, lambda: f64) -> Self {
        let n = self.tokens.max(1) as f64;
        let [[_, same_open], [differ_closed, differ_open]] = self.differs_open;
        self.nll_base /= n;
        self.nll_open /= n;
        self.nll_gated /= n;
        self.open_rate = (same_open + differ_open) as f64 / n;
        self.diff_rate = (differ_closed + differ_open) as f64 / n;
        self.diff_pick_rate = differ_open as f64 / n;
        self.gated_cost = self.nll_gated + lambda * self.open_rate;
        self
    }
}

/// Every token of a turn, computed as it is served.
pub(crate) fn score_turn(adapter: Option<&Adapter>, head: &Head, turn: &Turn) -> Result<Vec<Scored>> {
    let (hidden, vocab) = (head.hidden(), head.vocab());
    let mut out: Vec<Scored> = Vec::with_capacity(turn.targets.len());
    let mut opened = 0;
    for (number, targets) in turn.targets.chunks(CHUNK).enumerate() {
        let mut states = State::default();
        turn.states.decode_into(number * CHUNK..number * CHUNK + targets.len(), &mut states);
        let State { taps, z } = &states;
        let base = head.logits(z)?;
        let open = adapter.map(|a| a.open_logits(head, taps, z)).transpose()?;
        for (row, target) in targets.iter().enumerate() {
            let z = z.get(row * hidden..(row + 1) * hidden).unwrap_or(&[]);
            let logits = |all: &'_ [f32]| all.get(row * vocab..(row + 1) * vocab).unwrap_or(&[]).to_vec();
            let mut own = logits(&base);
            let (base_log, base_best) = score(&own, *target as usize, &Mixed::default());
            let mixed = adapter.and_then(Adapter::memory).map(|memory| {
                log_softmax(&mut own);
                memory.at(z, &own, Some(turn.conversation))
            });
            let (open_log, open_best) = match open.as_deref() {
                Some(open) => score(&logits(open), *target as usize, &mixed.unwrap_or_default()),
                None => (base_log, base_best),
            };
            let sigma = adapter.is_some_and(|a| opens(a, z, out.len() as u32, opened));
            opened += u32::from(sigma);
            out.push(Scored { base: -base_log, open: -open_log, differs: base_best != open_best, sigma });
        }
    }
    Ok(out)
}

/// Whether a position is open, as a turn of its own counts them.
fn opens(adapter: &Adapter, z: &[f32], index: u32, opened: u32) -> bool {
    if !adapter.variant().gated() {
        return true;
    }
    adapter.gate().is_some_and(|gate| gate.opens_at(gate.probability(z), index, opened))
}
