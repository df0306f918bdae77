//! Other settings on the same people, printed and forgotten: how a default is chosen.

use std::time::Instant;

use aside_adapter::Objective;

use crate::Fallible;
use crate::arms::{self, How};
use crate::people::Person;
use crate::states::Encoder;

/// One setting and its value.
pub(crate) type Change = (String, String);

/// Reads `name=value` and checks it.
pub(crate) fn parse(text: &str) -> Result<Change, String> {
    let (name, value) = text.split_once('=').ok_or("a setting looks like rate=1e-3")?;
    let change = (name.to_owned(), value.to_owned());
    apply(&mut How::default(), &change).map_err(|e| e.to_string())?;
    Ok(change)
}

fn apply(how: &mut How, (name, value): &Change) -> Fallible<()> {
    let settings = &mut how.settings;
    match name.as_str() {
        "starter" => how.starter = value.parse()?,
        "generic" => how.generic = value.parse()?,
        "rate" => settings.rate = value.parse()?,
        "epochs" => settings.epochs = value.parse()?,
        "dropout" => settings.dropout = value.parse()?,
        "batch" => settings.batch = value.parse()?,
        "kappa" => settings.kappa = Some(value.parse()?),
        "candidates" => settings.candidates = Some(value.parse()?),
        "joint" => settings.joint = value.parse()?,
        "memory" => settings.memory = value.parse()?,
        "cross_fit" => settings.cross_fit = value.parse()?,
        "objective" => {
            settings.objective = match value.as_str() {
                "marginal" => Objective::Marginal,
                "expected" => Objective::Expected,
                "straight" => Objective::Straight,
                _ => return Err("objective is marginal, expected or straight".into()),
            }
        }
        _ => return Err(format!("there is no setting {name}").into()),
    }
    Ok(())
}

/// Trains for each person with seed 1 and prints a row a person and the means.
pub(crate) fn run(encoder: &mut Encoder, people: &[&Person], changes: &[Change]) -> Fallible<()> {
    println!("person | gated % own % open % | open rate | cost - base, nats | budget 50 % % | seconds");
    let mut sums = [0.0; 7];
    for person in people {
        let lessons = encoder.lessons(person)?;
        let started = Instant::now();
        let mut how = How::default();
        changes.iter().try_for_each(|change| apply(&mut how, change))?;
        let adapter = arms::train_with(encoder, how, &lessons.train, 1)?;
        let seconds = started.elapsed().as_secs_f64();
        let (all, own, _) = arms::measure(encoder, &adapter, &lessons.test)?;
        let (half, ..) = arms::measure(encoder, &adapter.within(0.5), &lessons.test)?;
        let cost = all.gated + aside_adapter::LAMBDA * all.rate - all.base;
        let row = [
            all.gated_percent(),
            own.gated_percent(),
            100.0 * (all.open / all.base - 1.0),
            100.0 * all.rate,
            cost,
            half.gated_percent(),
            seconds,
        ];
        print(&person.name, &row);
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value / people.len() as f64);
    }
    print("mean", &sums);
    Ok(())
}

fn print(name: &str, [gated, own, open, rate, cost, half, seconds]: &[f64; 7]) {
    println!(
        "{name} | {gated:+.2} {own:+.2} {open:+.2} | {rate:.0} % | {cost:+.4} | {half:+.2} | {seconds:.0}"
    );
}
