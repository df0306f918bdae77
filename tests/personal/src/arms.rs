//! What is trained and measured: the product, its parts, the alternatives of the method, less and less material, other
//! people's adapters, and the decisions of an idle machine.

use std::time::Instant;

use aside_adapter::{
    Adapter, Bar, Job, LAMBDA, Objective, Part, Settings, Training, Turn, Variant, Verdict, compare, decide,
    evaluate, gate_scores, pairs,
};
use aside_daemon::learn::generic;

use crate::Fallible;
use crate::results::{Numbers, Row};
use crate::states::Encoder;

/// The product: network and memory.
pub(crate) const BOTH: &str = "both";
/// The product with `learning.budget = 0.5`.
pub(crate) const HALF: &str = "both, budget 50 %";
/// Parts and alternatives, each one switch away from the product.
pub(crate) const SWITCHES: [&str; 8] = [
    "memory",
    "network",
    "no starter",
    "no generic text",
    "not joint",
    "expected loss",
    "straight side training",
    "gate on the same tokens",
];
/// The starter of the backbone with a person's rows in its memory: nothing is trained on the person.
pub(crate) const STARTER: &str = "starter";
/// Lesson tokens of the learning curve.
pub(crate) const CURVE: [usize; 4] = [500, 1_000, 2_000, 4_000];
/// Lesson tokens between two looks of an idle machine.
const IDLE_STEP: usize = 1_000;

/// How an arm is trained.
pub(crate) struct How {
    pub(crate) settings: Settings,
    /// Gate and mixer begin from the backbone's starter.
    pub(crate) starter: bool,
    /// A tenth of generic text beside the lessons.
    pub(crate) generic: bool,
}

impl Default for How {
    fn default() -> Self {
        Self { settings: Settings::of(Variant::Spa), starter: true, generic: true }
    }
}

/// How an arm is trained.
fn how(arm: &str) -> How {
    How { settings: settings(arm), starter: arm != "no starter", generic: arm != "no generic text" }
}

fn settings(arm: &str) -> Settings {
    let product = Settings::of(Variant::Spa);
    match arm {
        // A network that is not trained stays newborn, and a newborn is the backbone.
        "memory" => Settings { rate: 0.0, epochs: 1, ..product },
        "network" => Settings { memory: false, ..Settings::of(Variant::FullSeparation) },
        "not joint" => Settings { joint: false, ..product },
        "expected loss" => Settings { objective: Objective::Expected, ..product },
        "straight side training" => Settings { objective: Objective::Straight, ..product },
        "gate on the same tokens" => Settings { cross_fit: false, ..product },
        _ => product,
    }
}

/// Trains an arm on lessons.
pub(crate) fn train(at: &Encoder, arm: &str, turns: &[Turn], seed: u64) -> Fallible<Adapter> {
    if arm == STARTER {
        let mut adapter = at.kit.starter().ok_or("the backbone has no starter")?.adapter(at.kit.shape())?;
        adapter.remember(turns);
        return Ok(adapter);
    }
    train_with(at, how(arm), turns, seed)
}

/// Trains in a given way on lessons.
pub(crate) fn train_with(at: &Encoder, how: How, turns: &[Turn], seed: u64) -> Fallible<Adapter> {
    let starter = at.kit.starter_bytes().filter(|_| how.starter).map(<[u8]>::to_vec);
    let beside = if how.generic { generic::beside(&at.generic, turns) } else { Vec::new() };
    let all = turns.iter().cloned().chain(beside).collect();
    let job = Job {
        shape: at.kit.shape(),
        variant: Variant::Spa,
        settings: how.settings,
        turns: all,
        parent: None,
        starter,
        seed,
    };
    let mut training = Training::new(&job, at.kit.head())?;
    while training.step()?.is_some() {}
    Ok(training.finish()?.adapter)
}

/// Measures on unseen turns.
pub(crate) fn measure(
    at: &Encoder,
    adapter: &Adapter,
    test: &[Turn],
) -> Fallible<(Numbers, Numbers, Numbers)> {
    // Row ids of lessons and test conversations must not meet.
    let foreign: Vec<Turn> = test.iter().cloned().map(|t| Turn { conversation: u64::MAX, ..t }).collect();
    let part =
        |own: bool| evaluate(Some(adapter), at.kit.head(), foreign.iter().filter(|t| t.own == own), LAMBDA);
    let (own, replies) = (part(true)?, part(false)?);
    Ok((own.joined(replies).into(), own.into(), replies.into()))
}

/// A row of results.
pub(crate) fn row(
    at: &Encoder,
    who: (&str, &str),
    arm: &str,
    seed: u64,
    lessons: &[Turn],
    trained: (&Adapter, f64),
    test: &[Turn],
) -> Fallible<Row> {
    let (adapter, seconds) = trained;
    let (all, own, replies) = measure(at, adapter, test)?;
    Ok(Row {
        kind: who.0.to_owned(),
        user: who.1.to_owned(),
        arm: arm.to_owned(),
        seed,
        lessons: tokens(lessons) as u64,
        all,
        own,
        replies,
        auroc: auroc(gate_scores(adapter, at.kit.head(), test)?),
        seconds,
        promoted: false,
    })
}

pub(crate) fn tokens(turns: &[Turn]) -> usize {
    turns.iter().map(|t| t.targets.len()).sum()
}

/// The first lessons, up to so many tokens.
pub(crate) fn first(turns: &[Turn], room: usize) -> Vec<Turn> {
    let mut sum = 0;
    let within = |t: &&Turn| {
        sum += t.targets.len();
        sum <= room
    };
    turns.iter().take_while(within).cloned().collect()
}

/// Probability that a token worth opening has a higher gate probability than one that is not.
fn auroc(mut scores: Vec<(f32, f64)>) -> f64 {
    scores.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut pairs, mut good) = (0.0, 0.0, 0.0);
    for (_, gain) in &scores {
        if *gain > LAMBDA {
            pairs += below;
            good += 1.0;
        } else {
            below += 1.0;
        }
    }
    if good * below > 0.0 { pairs / (good * below) } else { 0.5 }
}

/// An idle machine as lessons come in: a candidate after every step, promoted by the rule. One row a step, with what
/// is in use before (`open` holds its gated cost on the test part) and the candidate (`gated` holds its own).
pub(crate) fn idle(at: &Encoder, who: (&str, &str), lessons: &[Turn], test: &[Turn]) -> Fallible<Vec<Row>> {
    let mut in_use: Option<Adapter> = None;
    // Turns that were there when it was trained.
    let mut trained = 0;
    let mut rows = Vec::new();
    let foreign: Vec<Turn> = test.iter().cloned().map(|t| Turn { conversation: u64::MAX, ..t }).collect();
    let cost = |adapter: Option<&Adapter>| evaluate(adapter, at.kit.head(), &foreign, LAMBDA);
    for step in 1.. {
        let seen = first(lessons, step * IDLE_STEP);
        if tokens(&seen) + IDLE_STEP / 2 < step * IDLE_STEP {
            break;
        }
        let started = Instant::now();
        let candidate = train(at, BOTH, &seen, step as u64)?;
        let held_out: Vec<(&Turn, bool)> = (0..)
            .zip(&seen)
            .filter(|(_, t)| t.part == Part::HeldOut)
            .map(|(number, turn)| (turn, number < trained))
            .collect();
        // What is in use knows newer lessons by its memory, as it would in the product.
        let mut current = in_use.take();
        if let Some(current) = &mut current {
            current.remember(&seen.iter().skip(known(current, &seen)).cloned().collect::<Vec<_>>());
        }
        let drift = generic::measuring(&at.generic);
        let drift =
            pairs(&candidate, current.as_ref(), at.kit.head(), drift.iter().map(|t| (t, true)), LAMBDA)?;
        let found =
            compare(&pairs(&candidate, current.as_ref(), at.kit.head(), held_out, LAMBDA)?, &drift, 0);
        let promoted = decide(&found, Bar::Sure) == Verdict::Promote;
        let (before, after) = (cost(current.as_ref())?, cost(Some(&candidate))?);
        let all = Numbers {
            tokens: after.tokens,
            base: after.nll_base,
            open: before.gated_cost,
            gated: after.gated_cost,
            rate: after.open_rate,
        };
        rows.push(Row {
            kind: who.0.to_owned(),
            user: who.1.to_owned(),
            arm: "idle".to_owned(),
            seed: step as u64,
            lessons: tokens(&seen) as u64,
            all,
            own: Numbers::default(),
            replies: Numbers::default(),
            auroc: 0.0,
            seconds: started.elapsed().as_secs_f64(),
            promoted,
        });
        if promoted {
            trained = seen.len();
        }
        in_use = if promoted { Some(candidate) } else { current };
    }
    Ok(rows)
}

/// Turns whose rows an adapter's memory holds: it learned the first ones, all of them.
fn known(adapter: &Adapter, turns: &[Turn]) -> usize {
    let mut rows = adapter.memory_rows();
    turns
        .iter()
        .take_while(|t| {
            let fits = rows >= t.targets.len();
            rows = rows.saturating_sub(t.targets.len());
            fits
        })
        .count()
}
