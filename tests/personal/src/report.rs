//! Tables in Markdown: means over people with 95 % bootstrap intervals, each person the mean of their seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use aside_adapter::LAMBDA;

use crate::arms::{BOTH, HALF, STARTER, SWITCHES};
use crate::results::{Numbers, Row};

const DRAWS: usize = 2_000;

/// Everything that is measured, as tables.
pub(crate) fn tables(rows: &[Row]) -> String {
    let mut out = String::new();
    for kind in ["persona", "irc"] {
        let of: Vec<&Row> = rows.iter().filter(|r| r.kind == kind).collect();
        if !of.is_empty() {
            arms(&mut out, kind, &of);
            facts(&mut out, &of);
        }
    }
    curve(&mut out, rows);
    idle(&mut out, rows);
    out
}

fn arms(out: &mut String, kind: &str, rows: &[&Row]) {
    let people: BTreeSet<&str> = rows.iter().map(|r| r.user.as_str()).collect();
    let _ = writeln!(out, "\n### {kind} users ({})\n", people.len());
    let _ = writeln!(
        out,
        "| trained | seeds | gated, all | median | own turns | replies | open rate | always open, all | below base | AUROC |"
    );
    let _ = writeln!(out, "|---|---|---|---|---|---|---|---|---|---|");
    for arm in [BOTH, HALF, STARTER].into_iter().chain(SWITCHES).chain(["lora"]) {
        let of: Vec<&&Row> = rows.iter().filter(|r| r.arm == arm).collect();
        if of.is_empty() {
            continue;
        }
        let seeds: BTreeSet<u64> = of.iter().map(|r| r.seed).collect();
        let by = |f: &dyn Fn(&Row) -> f64| means(&of, f);
        let gated = by(&|r| r.all.gated_percent());
        let open = interval(&by(&|r| r.all.open_percent()));
        if arm == "lora" {
            // It has no gate: every token is its own.
            let _ = writeln!(
                out,
                "| LoRA r 8 | {} | | | | | 100 % | {open}; own {}, replies {} | {} of {} | |",
                seeds.len(),
                percent(mean(&by(&|r| r.own.open_percent()))),
                percent(mean(&by(&|r| r.replies.open_percent()))),
                by(&|r| r.all.open_percent()).iter().filter(|v| **v < 0.0).count(),
                gated.len()
            );
            continue;
        }
        let _ = writeln!(
            out,
            "| {arm} | {} | {} | {:.1} | {} (median {:.1}) | {} | {:.0} % | {open} | {} of {} | {:.2} |",
            seeds.len(),
            interval(&gated),
            median(&gated),
            interval(&by(&|r| r.own.gated_percent())),
            median(&by(&|r| r.own.gated_percent())),
            percent(mean(&by(&|r| r.replies.gated_percent()))),
            100.0 * mean(&by(&|r| r.all.rate)),
            gated.iter().filter(|v| **v < 0.0).count(),
            gated.len(),
            mean(&by(&|r| r.auroc)),
        );
    }
}

/// What the issue of "is it really theirs, and does the gate know" comes to.
fn facts(out: &mut String, rows: &[&Row]) {
    let product: Vec<&&Row> = rows.iter().filter(|r| r.arm == BOTH).collect();
    let people: BTreeSet<&str> = product.iter().map(|r| r.user.as_str()).collect();
    // Where everything is open there is nothing to choose: there the gate is measured held to the budget.
    let beats_random = people.iter().filter(|user| {
        let mut held = rows.iter().filter(|r| r.user == **user && r.arm == HALF);
        held.all(|r| r.all.gated < r.all.random())
    });
    let cost = |n: &Numbers| n.gated + LAMBDA * n.rate;
    let (mut beats_each, mut beats_most, mut measured) = (0, 0, 0);
    for user in &people {
        let own = product.iter().find(|r| r.user == **user && r.seed == 1);
        let others: Vec<f64> = rows
            .iter()
            .filter(|r| r.user == **user && r.arm.starts_with("of "))
            .map(|r| cost(&r.all))
            .collect();
        let Some(own) = own.filter(|_| !others.is_empty()) else { continue };
        measured += 1;
        beats_each += usize::from(others.iter().all(|other| cost(&own.all) < *other));
        beats_most += usize::from(cost(&own.all) < mean(&others));
    }
    let _ = writeln!(
        out,
        "\nHeld to 50 %, the gate beats a random gate of the same rate for {} of {} people, with every seed. A person's own adapter has a \
         lower gated cost than the mean of the others' for {beats_most} of {measured}, and than every other for {beats_each}.",
        beats_random.count(),
        people.len(),
    );
    let of = |arm: &str, f: fn(&Numbers) -> f64| -> BTreeMap<String, f64> {
        let rows: Vec<&&Row> = rows.iter().filter(|r| r.arm == arm).collect();
        let users: BTreeSet<&str> = rows.iter().map(|r| r.user.as_str()).collect();
        let of_user =
            |user: &str| mean(&rows.iter().filter(|r| r.user == user).map(|r| f(&r.all)).collect::<Vec<_>>());
        users.into_iter().map(|user| (user.to_owned(), of_user(user))).collect()
    };
    let lora = of("lora", Numbers::open_percent);
    for (arm, what) in [(BOTH, "gated"), (HALF, "gated, budget 50 %")] {
        let mine = of(arm, Numbers::gated_percent);
        let pairs: Vec<(f64, f64)> =
            lora.iter().filter_map(|(user, lora)| Some((*mine.get(user)?, *lora))).collect();
        if !pairs.is_empty() {
            let (mine, theirs): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
            let better = pairs.iter().filter(|(mine, lora)| mine < lora).count();
            let _ = writeln!(
                out,
                "Against LoRA on the same people: {:.2} times its gain ({what}); more for {better} of {}.",
                mean(&mine) / mean(&theirs),
                pairs.len()
            );
        }
    }
}

fn curve(out: &mut String, rows: &[Row]) {
    let points: BTreeSet<usize> =
        rows.iter().filter_map(|r| r.arm.strip_prefix("first ")?.parse().ok()).collect();
    if points.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n### Gain by lesson tokens, gated\n\n| lesson tokens | persona | its starter alone | irc | its starter alone |\n\
         |---|---|---|---|---|"
    );
    for point in points {
        let (own, starter) = (format!("first {point}"), format!("{STARTER}, first {point}"));
        let of = |kind: &str, arm: &str| {
            let rows = rows.iter().filter(|r| r.arm == arm && r.kind == kind);
            interval(&rows.map(|r| r.all.gated_percent()).collect::<Vec<_>>())
        };
        let cells = ["persona", "irc"].map(|kind| format!("{} | {}", of(kind, &own), of(kind, &starter)));
        let _ = writeln!(out, "| {point} | {} |", cells.join(" | "));
    }
}

fn idle(out: &mut String, rows: &[Row]) {
    let steps: Vec<&Row> = rows.iter().filter(|r| r.arm == "idle").collect();
    let promoted: Vec<&&Row> = steps.iter().filter(|r| r.promoted).collect();
    if steps.is_empty() {
        return;
    }
    // `open` holds the gated cost of what was in use, `gated` that of the candidate.
    let worse = promoted.iter().filter(|r| r.all.gated >= r.all.open).count();
    let refused_well = steps.iter().filter(|r| !r.promoted && r.all.gated >= r.all.open).count();
    let _ = writeln!(
        out,
        "\n### Decisions of an idle machine\n\nA candidate after every 1,000 lesson tokens: {} candidates, {} promoted, of which \
         {worse} ({:.0} %) have a higher gated cost on the test part than what they replaced; of {} refused, {refused_well} \
         would have been worse.",
        steps.len(),
        promoted.len(),
        100.0 * worse as f64 / promoted.len().max(1) as f64,
        steps.len() - promoted.len(),
    );
}

/// One value a person: the mean of their seeds.
fn means(rows: &[&&Row], f: &dyn Fn(&Row) -> f64) -> Vec<f64> {
    let mut by: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for row in rows {
        by.entry(&row.user).or_default().push(f(row));
    }
    by.into_values().map(|values| mean(&values)).collect()
}

/// A change in percent; a dash where nothing was measured.
fn percent(value: f64) -> String {
    if value.is_finite() { format!("{value:.1}") } else { "-".to_owned() }
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.get(middle.wrapping_sub(1))) {
        (Some(high), Some(low)) if sorted.len().is_multiple_of(2) => f64::midpoint(*low, *high),
        (Some(value), _) => *value,
        _ => f64::NAN,
    }
}

/// "mean [low, high]": the 95 % interval of the mean, people drawn with replacement.
fn interval(values: &[f64]) -> String {
    if values.is_empty() {
        return String::new();
    }
    let mut state = 1u64;
    let mut draw = || {
        // A linear congruential generator is random enough to resample people.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        values.get((state >> 33) as usize % values.len()).copied().unwrap_or(0.0)
    };
    let mut drawn: Vec<f64> =
        (0..DRAWS).map(|_| (0..values.len()).map(|_| draw()).sum::<f64>() / values.len() as f64).collect();
    drawn.sort_by(f64::total_cmp);
    let at = |share: f64| drawn.get((share * DRAWS as f64) as usize).copied().unwrap_or(f64::NAN);
    format!("{:.1} [{:.1}, {:.1}]", mean(values), at(0.025), at(0.975))
}
