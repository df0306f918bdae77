//! The starter: what a device uses before it has trained anything of its own. Gate and mixer are fitted on other people's
//! conversations, the network is a newborn, and the memory is empty: nothing personal is in it (method, section 8).

use super::gating::{Tokens, cross_fitted};
use super::read::read;
use crate::adapter::Adapter;
use crate::error::Result;
use crate::head::Head;
use crate::job::{Part, Turn};
use crate::memory::{Memory, Mixed, Rows, Sample, fit, rows_of};
use crate::side::{Shape, SideNetwork};
use crate::variant::Variant;

/// Folds of people.
const FOLDS: usize = 4;

/// Fits a starter on the turns of many people. A person's turns are remembered; those whose part is not
/// [`Part::Train`] are also measured, against the person's other conversations. They must be ones that the backbone was
/// not trained on: what it knows by heart no memory can make better.
///
/// # Errors
/// When tensor arithmetic fails.
pub fn starter(people: &[Vec<Turn>], head: &Head, shape: Shape, lambda: f64) -> Result<Option<Adapter>> {
    let mut measured: Vec<(usize, &Turn, Vec<f32>, Vec<Option<Sample>>)> = Vec::new();
    for (number, turns) in people.iter().enumerate() {
        let rows = rows_of(shape.hidden, turns);
        for turn in turns.iter().filter(|turn| turn.part != Part::Train) {
            let found = read(turn, head, Some(&rows), None)?;
            measured.push((number, turn, found.base, found.samples));
        }
    }
    let samples: Vec<&Sample> = measured.iter().flat_map(|(.., samples)| samples.iter().flatten()).collect();
    if samples.is_empty() {
        return Ok(None);
    }
    let mixer = fit(&samples);
    let mut folds = vec![Tokens::default(); FOLDS];
    for (number, turn, base, samples) in &measured {
        let Some(fold) = folds.get_mut(number % FOLDS) else { continue };
        turn.states.z_into(0..turn.targets.len(), &mut fold.z);
        for ((target, base), sample) in turn.targets.iter().zip(base).zip(samples) {
            let mixed = sample.as_ref().map_or_else(Mixed::default, |sample| mixer.mix(&sample.near));
            let fused = (1.0 - mixed.m) * base.exp() + mixed.m * mixed.share(*target);
            fold.gain.push(f64::from(fused.max(f32::MIN_POSITIVE).ln() - base));
            fold.weight.push(f64::from(turn.weight));
        }
    }
    let gate = cross_fitted(&folds, shape.hidden, lambda)?;
    let memory = Memory { rows: Rows::new(shape.hidden), mixer };
    Ok(Some(Adapter::of(SideNetwork::birth(shape, 0)?, Variant::Spa, gate, Some(memory))))
}
