//! Whether a candidate may take the place of what is in use (method, section 5): a paired bootstrap over held-out turns
//! on the gated cost, and no loss on what came earlier. Pure: scores in, a verdict with its numbers out.

use crate::adapter::Adapter;
use crate::error::Result;
use crate::evaluate::score_turn;
use crate::head::Head;
use crate::job::Turn;
use crate::rng::Rng;

/// Turns below which nothing is decided by itself.
pub const ENOUGH_TURNS: usize = 30;
/// Tokens that count as recent: the newest held-out turns up to these.
const RECENT_TOKENS: usize = 2_000;
/// Share of NLL that earlier turns may lose, and generic ones.
const EARLIER_LOSS: f64 = 0.005;
/// Share of what recent turns gain that generic ones may lose besides. Base is the very distribution of generic text, so
/// that whatever helps a person costs something there: with 0.5 % alone none of 26 people's adapters would ever be used
/// (generic NLL +0.8 to +5.5 % for 14 persona users who gain 2 to 22 %, +11 to +18 % for 12 IRC users who gain 11 to 22 %).
const GENERIC_SHARE: f64 = 0.5;
/// Share of their NLL that generic turns may lose at most, however much is gained.
const GENERIC_MOST: f64 = 0.25;
const DRAWS: usize = 2_000;
/// Quantile of the drawn differences that has to be below 0.
const CONFIDENCE: f64 = 0.95;

/// Who asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bar {
    /// The machine by itself: better beyond doubt.
    Sure,
    /// A person: it does not predict worse, as far as that was measured; what it costs is theirs to say.
    Asked,
    /// It takes the place of versions that must go, because a person wants what they learned forgotten.
    Forgetting,
}

/// One held-out turn, scored with the candidate and with what is in use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Tokens.
    pub tokens: usize,
    /// Sums over its tokens of the gated cost, in nats: candidate, in use.
    pub cost: [f64; 2],
    /// Sums of the gated NLL.
    pub nll: [f64; 2],
    /// What is in use was trained when this turn was there.
    pub earlier: bool,
}

/// What was found; differences are candidate minus in use, nats per token, below 0 is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Held-out turns.
    pub turns: usize,
    /// Tokens of the recent ones.
    pub recent_tokens: usize,
    /// Mean difference of the gated cost on recent turns.
    pub difference: f64,
    /// Its 95 % upper bound.
    pub upper: f64,
    /// Mean difference of the gated NLL on recent turns.
    pub nll: f64,
    /// Mean difference of the gated NLL on generic turns; 0 without any.
    pub generic: f64,
    /// Gated NLL of what is in use there.
    pub generic_nll: f64,
    /// Change of the gated NLL on earlier turns (those before the recent ones, and those that were there when what is in
    /// use was trained), as a share; 0 without any.
    pub earlier: f64,
}

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Use it.
    Promote,
    /// Keep what is in use: too few held-out turns to tell.
    TooFew,
    /// Keep what is in use: not better, or not surely.
    NotBetter,
    /// Keep what is in use: earlier turns would be predicted worse.
    Forgets,
    /// Keep what is in use: it moves away from base where there is nothing to gain.
    Drifts,
}

impl Verdict {
    /// The word that is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promoted",
            Self::TooFew => "too few held-out turns",
            Self::NotBetter => "not better",
            Self::Forgets => "earlier turns get worse",
            Self::Drifts => "generic text gets worse",
        }
    }
}

/// Scores held-out turns, oldest first, with both; `None` is base. With every turn: whether it was there when what is in
/// use was trained.
///
/// # Errors
/// [`crate::AdapterError::Shape`] when states do not match.
pub fn pairs<'a>(
    candidate: &Adapter,
    in_use: Option<&Adapter>,
    head: &Head,
    turns: impl IntoIterator<Item = (&'a Turn, bool)>,
    lambda: f64,
) -> Result<Vec<Pair>> {
    let sums = |adapter: Option<&Adapter>, turn: &Turn| -> Result<(f64, f64)> {
        let scored = score_turn(adapter, head, turn)?;
        let nll: f64 = scored.iter().map(|s| if s.sigma { s.open } else { s.base }).sum();
        let open = scored.iter().filter(|s| s.sigma).count() as f64;
        Ok((nll + lambda * open, nll))
    };
    let pair = |(turn, earlier): (&Turn, bool)| {
        let (new, old) = (sums(Some(candidate), turn)?, sums(in_use, turn)?);
        Ok(Pair { tokens: turn.targets.len(), cost: [new.0, old.0], nll: [new.1, old.1], earlier })
    };
    turns.into_iter().filter(|(turn, _)| !turn.targets.is_empty()).map(pair).collect()
}

/// Compares on `pairs`, oldest first, and on `generic` ones.
#[must_use]
pub fn compare(pairs: &[Pair], generic: &[Pair], seed: u64) -> Comparison {
    let mut tokens = 0;
    let recent_from = pairs
        .iter()
        .rposition(|p| {
            tokens += p.tokens;
            tokens > RECENT_TOKENS
        })
        .map_or(0, |before| before + 1);
    // A single turn beyond the limit still is the newest.
    let (before, recent) = pairs.split_at(recent_from.min(pairs.len().saturating_sub(1)));
    let (difference, upper) = bootstrap(recent, seed);
    let recent_tokens: usize = recent.iter().map(|p| p.tokens).sum();
    // Garbage that improves on garbage is no better: what was said before it is where it shows.
    let earlier: Vec<&Pair> = before.iter().chain(recent.iter().filter(|p| p.earlier)).collect();
    let nll = |side: fn(&Pair) -> f64| earlier.iter().map(|p| side(p)).sum::<f64>();
    let (new, old) = (nll(|p| p.nll[0]), nll(|p| p.nll[1]));
    Comparison {
        turns: pairs.len(),
        recent_tokens,
        difference,
        upper,
        nll: mean_nll(recent, |p| p.nll[0] - p.nll[1]),
        generic: mean_nll(generic, |p| p.nll[0] - p.nll[1]),
        generic_nll: mean_nll(generic, |p| p.nll[1]),
        earlier: if old > 0.0 { new / old - 1.0 } else { 0.0 },
    }
}

fn mean_nll(pairs: &[Pair], of: impl Fn(&Pair) -> f64) -> f64 {
    let tokens: usize = pairs.iter().map(|p| p.tokens).sum();
    pairs.iter().map(of).sum::<f64>() / tokens.max(1) as f64
}

/// The verdict on a comparison.
#[must_use]
pub fn decide(comparison: &Comparison, bar: Bar) -> Verdict {
    let few = comparison.turns < ENOUGH_TURNS;
    let drift = EARLIER_LOSS * comparison.generic_nll + GENERIC_SHARE * (-comparison.nll).max(0.0);
    let drift = drift.min(GENERIC_MOST * comparison.generic_nll);
    match bar {
        Bar::Forgetting => Verdict::Promote,
        _ if comparison.earlier > EARLIER_LOSS && !few => Verdict::Forgets,
        Bar::Sure if few => Verdict::TooFew,
        // Written so that what is no number is not better.
        Bar::Sure if !comparison.upper.lt(&0.0) => Verdict::NotBetter,
        Bar::Asked if !few && !comparison.nll.le(&0.0) => Verdict::NotBetter,
        _ if !few && !comparison.generic.le(&drift) => Verdict::Drifts,
        Bar::Sure | Bar::Asked => Verdict::Promote,
    }
}

/// Mean difference of the cost a token and its upper bound, whole turns drawn with replacement.
fn bootstrap(pairs: &[Pair], seed: u64) -> (f64, f64) {
    let mean = |sum: f64, tokens: usize| sum / tokens.max(1) as f64;
    let of = |p: &Pair| p.cost[0] - p.cost[1];
    let difference = mean(pairs.iter().map(of).sum(), pairs.iter().map(|p| p.tokens).sum());
    if pairs.is_empty() {
        return (0.0, 0.0);
    }
    let mut rng = Rng::at(seed, &[0xB0]);
    let mut drawn: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let (mut sum, mut tokens) = (0.0, 0);
            for _ in 0..pairs.len() {
                let place = (rng.next() % pairs.len() as u64) as usize;
                if let Some(pair) = pairs.get(place) {
                    sum += of(pair);
                    tokens += pair.tokens;
                }
            }
            mean(sum, tokens)
        })
        .collect();
    drawn.sort_by(f64::total_cmp);
    let upper = drawn.get((DRAWS as f64 * CONFIDENCE) as usize).copied().unwrap_or(difference);
    (difference, upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(turns: usize, gain: f64, noise: f64) -> Vec<Pair> {
        let mut rng = Rng::at(1, &[]);
        let pair = |_| {
            let difference = 10.0 * (rng.normal() * noise - gain);
            let (cost, nll) = ([20.0 + difference, 20.0], [19.0 + difference, 19.0]);
            Pair { tokens: 10, cost, nll, earlier: false }
        };
        (0..turns).map(pair).collect()
    }

    #[test]
    fn a_sure_gain_is_taken_and_a_doubtful_one_only_when_asked_for() {
        let sure = compare(&pairs(60, 0.05, 0.05), &[], 1);
        assert!(sure.difference < sure.upper && sure.upper < 0.0, "{sure:?}");
        assert_eq!(decide(&sure, Bar::Sure), Verdict::Promote);
        let doubtful = compare(&pairs(60, 0.01, 0.4), &[], 1);
        assert!(doubtful.upper > 0.0, "{doubtful:?}");
        assert_eq!(decide(&doubtful, Bar::Sure), Verdict::NotBetter);
        let worse = compare(&pairs(60, -0.05, 0.05), &[], 1);
        assert_eq!(decide(&worse, Bar::Asked), Verdict::NotBetter);
        let better = Comparison { difference: 0.001, nll: -0.001, ..doubtful };
        assert_eq!(decide(&better, Bar::Asked), Verdict::Promote);
    }

    #[test]
    fn the_bound_covers_what_it_says() {
        // No true difference: about one in twenty upper bounds lies below 0.
        let below = (0..400)
            .filter(|seed| {
                let mut rng = Rng::at(*seed, &[7]);
                let pair = |_| {
                    let cost = [10.0 * rng.normal(), 0.0];
                    Pair { tokens: 10, cost, nll: [0.0, 0.0], earlier: false }
                };
                let pairs: Vec<Pair> = (0..60).map(pair).collect();
                bootstrap(&pairs, *seed).1 < 0.0
            })
            .count();
        assert!((8..=40).contains(&below), "{below} of 400");
    }

    #[test]
    fn too_few_turns_and_lost_old_ones_are_told() {
        assert_eq!(decide(&compare(&pairs(29, 1.0, 0.0), &[], 1), Bar::Sure), Verdict::TooFew);
        assert_eq!(decide(&compare(&pairs(3, -1.0, 0.0), &[], 1), Bar::Asked), Verdict::Promote);
        let mut forgets = pairs(400, 0.05, 0.0);
        forgets.iter_mut().take(100).for_each(|p| p.nll[0] = p.nll[1] * 1.1);
        let found = compare(&forgets, &[], 1);
        assert_eq!(found.recent_tokens, 2_000);
        assert!(found.earlier > 0.005 && found.upper < 0.0, "{found:?}");
        assert_eq!(decide(&found, Bar::Sure), Verdict::Forgets);
        // A gain on what is new that is paid for by what was there before is no gain.
        let mut poisoned = pairs(60, 0.5, 0.0);
        poisoned.iter_mut().take(30).for_each(|p| (p.earlier, p.nll[0]) = (true, p.nll[1] * 1.02));
        let found = compare(&poisoned, &[], 1);
        assert!(found.upper < 0.0 && found.earlier > 0.005, "{found:?}");
        assert_eq!(
            (decide(&found, Bar::Sure), decide(&found, Bar::Asked)),
            (Verdict::Forgets, Verdict::Forgets)
        );
        let empty = compare(&[], &[], 1);
        assert_eq!((empty.turns, decide(&empty, Bar::Sure)), (0, Verdict::TooFew));
        assert_eq!(decide(&empty, Bar::Asked), Verdict::Promote);
        assert_eq!(decide(&found, Bar::Forgetting), Verdict::Promote);
    }

    #[test]
    fn generic_text_may_lose_a_share_of_what_is_gained_and_no_more() {
        let on = |gain: f64, lost: f64| {
            let generic = [Pair { tokens: 100, cost: [0.0; 2], nll: [100.0 + lost, 100.0], earlier: false }];
            compare(&pairs(60, gain, 0.0), &generic, 1)
        };
        let found = on(0.2, 8.0);
        assert!((found.generic - 0.08).abs() < 1e-9 && (found.generic_nll - 1.0).abs() < 1e-9);
        assert_eq!(decide(&found, Bar::Sure), Verdict::Promote);
        assert_eq!(decide(&on(0.2, 12.0), Bar::Sure), Verdict::Drifts);
        assert_eq!(decide(&on(0.001, 0.4), Bar::Asked), Verdict::Promote);
        assert_eq!(decide(&on(0.001, 0.8), Bar::Asked), Verdict::Drifts);
        assert_eq!(decide(&on(0.001, 0.8), Bar::Forgetting), Verdict::Promote);
        assert_eq!(decide(&on(2.0, 26.0), Bar::Sure), Verdict::Drifts);
        let none = Comparison { upper: f64::NAN, nll: f64::NAN, ..on(0.2, 0.0) };
        assert_eq!(
            (decide(&none, Bar::Sure), decide(&none, Bar::Asked)),
            (Verdict::NotBetter, Verdict::NotBetter)
        );
    }
}
