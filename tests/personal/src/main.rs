//! What the method is worth to real people: `measure` trains and measures, resumably; `report` makes the tables and the
//! plot of `tests/personal/README.md` out of the results.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]

mod arms;
mod people;
mod plot;
mod report;
mod results;
mod states;
mod trial;

use std::path::PathBuf;
use std::time::Instant;

use aside_adapter::Adapter;
use clap::{Parser, Subcommand};

use arms::{BOTH, CURVE, HALF, STARTER, SWITCHES};
use results::Results;
use states::{Encoder, Lessons};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
struct Arguments {
    /// Results, one JSON object a line
    #[arg(long, default_value = "results.jsonl")]
    results: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Trains and measures what the results lack
    Measure {
        /// Folder of persona_users.jsonl.gz and irc_users.jsonl.gz
        #[arg(long)]
        data: PathBuf,
        /// Only persona or irc: two programs may write to the same results
        #[arg(long)]
        kind: Option<String>,
        /// Seeds
        #[arg(long, default_value_t = 3)]
        seeds: u64,
        /// Only the first so many people of each kind
        #[arg(long, default_value_t = usize::MAX)]
        people: usize,
    },
    /// Trains with other settings and prints what they are worth; keeps nothing
    Try {
        /// Folder of persona_users.jsonl.gz and irc_users.jsonl.gz
        #[arg(long)]
        data: PathBuf,
        /// persona or irc
        #[arg(long, default_value = "persona")]
        kind: String,
        /// Only the first so many people
        #[arg(long, default_value_t = usize::MAX)]
        people: usize,
        /// Settings that differ: rate, epochs, dropout, batch, kappa, candidates, joint, memory, `cross_fit`,
        /// objective, starter, generic
        #[arg(value_name = "NAME=VALUE", value_parser = trial::parse)]
        settings: Vec<trial::Change>,
    },
    /// Writes README's tables to standard output and the learning curve to an SVG file
    Report {
        #[arg(long, default_value = "curve.svg")]
        plot: PathBuf,
    },
}

fn main() -> Fallible<()> {
    let Arguments { results, action } = Arguments::parse();
    let mut results = Results::open(&results)?;
    match action {
        Action::Measure { data, kind, seeds, people } => {
            let mut encoder = Encoder::new()?;
            let mut all = people::people(&data)?;
            let mut seen = std::collections::BTreeMap::new();
            all.retain(|person| kind.as_deref().is_none_or(|kind| kind == person.kind));
            all.retain(|person| {
                let count = seen.entry(person.kind).or_insert(0);
                *count += 1;
                *count <= people
            });
            let mut known = Vec::new();
            for person in &all {
                let lessons = encoder.lessons(person)?;
                let counts = (arms::tokens(&lessons.train), arms::tokens(&lessons.test));
                eprintln!(
                    "{} {}: {} lesson tokens, {} test tokens",
                    person.kind, person.name, counts.0, counts.1
                );
                known.push(Known { who: (person.kind, &person.name), lessons });
            }
            measure(&encoder, &known, seeds, &mut results)
        }
        Action::Try { data, kind, people, settings } => {
            let mut encoder = Encoder::new()?;
            let all = people::people(&data)?;
            let some: Vec<_> = all.iter().filter(|person| person.kind == kind).take(people).collect();
            trial::run(&mut encoder, &some, &settings)
        }
        Action::Report { plot } => {
            std::fs::write(plot, plot::curve(&results.rows))?;
            print!("{}", report::tables(&results.rows));
            Ok(())
        }
    }
}

struct Known<'a> {
    who: (&'a str, &'a str),
    lessons: Lessons,
}

/// The most telling first: a run that is stopped has measured something whole.
fn measure(encoder: &Encoder, people: &[Known<'_>], seeds: u64, results: &mut Results) -> Fallible<()> {
    let mut own = Vec::new();
    for person in people {
        one(encoder, person, STARTER, 1, results)?;
        own.push(one(encoder, person, BOTH, 1, results)?);
    }
    for seed in 2..=seeds {
        for person in people {
            one(encoder, person, BOTH, seed, results)?;
        }
    }
    for person in people.iter().filter(|p| p.who.0 == "persona") {
        if !results.has(person.who.1, "idle", 1) {
            let Lessons { train, test } = &person.lessons;
            for row in arms::idle(encoder, person.who, train, test)? {
                results.add(row)?;
            }
        }
    }
    let (parts, alternatives) = SWITCHES.split_at(2);
    for arm in parts {
        for person in people {
            one(encoder, person, arm, 1, results)?;
        }
    }
    others(encoder, people, &own, results)?;
    for person in people {
        for room in CURVE.into_iter().filter(|room| *room < arms::tokens(&person.lessons.train)) {
            let lessons = arms::first(&person.lessons.train, room);
            for (arm, how) in [(format!("first {room}"), BOTH), (format!("starter, first {room}"), STARTER)] {
                if !results.has(person.who.1, &arm, 1) {
                    let adapter = arms::train(encoder, how, &lessons, 1)?;
                    let trained = (&adapter, 0.0);
                    let test = &person.lessons.test;
                    results.add(arms::row(encoder, person.who, &arm, 1, &lessons, trained, test)?)?;
                }
            }
        }
    }
    for arm in alternatives {
        for person in people {
            one(encoder, person, arm, 1, results)?;
        }
    }
    for seed in 2..=seeds {
        for arm in parts {
            for person in people {
                one(encoder, person, arm, seed, results)?;
            }
        }
    }
    Ok(())
}

/// Trains an arm for a person and measures it; nothing where the results have it, but the product of seed 1, which
/// others are measured with.
fn one(
    encoder: &Encoder,
    person: &Known<'_>,
    arm: &str,
    seed: u64,
    results: &mut Results,
) -> Fallible<Option<Adapter>> {
    let name = person.who.1;
    let (done, first) = (results.has(name, arm, seed), (arm, seed) == (BOTH, 1));
    if done && !first {
        return Ok(None);
    }
    let Lessons { train, test } = &person.lessons;
    let started = Instant::now();
    let kept = Some(results.adapter(name)).filter(|file| done && first && file.exists());
    let adapter = match &kept {
        Some(file) => Adapter::from_bytes(&std::fs::read(file)?)?,
        None => arms::train(encoder, arm, train, seed)?,
    };
    let seconds = started.elapsed().as_secs_f64();
    if !done {
        let row = arms::row(encoder, person.who, arm, seed, train, (&adapter, seconds), test)?;
        eprintln!("{name} {arm} {seed}: {:.2} % gated, {:.0} s", row.all.gated_percent(), seconds);
        results.add(row)?;
    }
    if first && kept.is_none() {
        let file = results.adapter(name);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(file, adapter.to_bytes()?)?;
    }
    if arm == BOTH && !results.has(name, HALF, seed) {
        let held = Adapter::from_bytes(&adapter.to_bytes()?)?.within(0.5);
        results.add(arms::row(encoder, person.who, HALF, seed, train, (&held, seconds), test)?)?;
    }
    Ok(Some(adapter))
}

/// Everybody's test part with everybody else's adapter of the same kind.
fn others(
    encoder: &Encoder,
    people: &[Known<'_>],
    adapters: &[Option<Adapter>],
    results: &mut Results,
) -> Fallible<()> {
    for person in people {
        for (other, adapter) in people.iter().zip(adapters) {
            let arm = format!("of {}", other.who.1);
            let Some(adapter) = adapter else { continue };
            let own = person.who.1 == other.who.1;
            if own || person.who.0 != other.who.0 || results.has(person.who.1, &arm, 1) {
                continue;
            }
            let test = &person.lessons.test;
            results.add(arms::row(
                encoder,
                person.who,
                &arm,
                1,
                &other.lessons.train,
                (adapter, 0.0),
                test,
            )?)?;
        }
    }
    Ok(())
}
