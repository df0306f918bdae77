//! Fits a starter to many people, each measured on conversations that only their others speak for.

use std::collections::BTreeSet;

use super::gating::{Ask, Tokens, cross_fitted};
use super::read::read;
use crate::error::{AdapterError, Result};
use crate::head::Head;
use crate::job::{Part, Turn};
use crate::memory::{Mixed, Mixer, Projection, Sample, fit, rows_of};
use crate::starter::{Generic, Starter};

/// Folds of people.
const FOLDS: usize = 4;

/// What is known of the people of a starter, one after the other.
pub struct People {
    /// How their states become keys.
    projection: Projection,
    people: usize,
    measured: Vec<Measured>,
}

/// A measured turn.
struct Measured {
    /// Number of who said it.
    person: usize,
    weight: f32,
    generic: bool,
    targets: Vec<u32>,
    /// n x H.
    z: Vec<f32>,
    /// Base's log-probability of every target.
    base: Vec<f32>,
    /// The rows near each.
    samples: Vec<Option<Sample>>,
}

impl Measured {
    /// D of every token: what the memory gains there, in nats.
    fn gains(&self, mixer: &Mixer) -> impl Iterator<Item = f64> {
        self.targets.iter().zip(&self.base).zip(&self.samples).map(|((target, base), sample)| {
            let mixed = sample.as_ref().map_or_else(Mixed::default, |sample| mixer.mix(&sample.near));
            let fused = (1.0 - mixed.m) * base.exp() + mixed.m * mixed.share(*target);
            f64::from(fused.max(f32::MIN_POSITIVE).ln() - base)
        })
    }
}

impl People {
    /// Nobody yet; states of the backbone (n x H, of whomever) say which of their directions matter, where not all have
    /// room in a key.
    ///
    /// # Errors
    /// When tensor arithmetic fails.
    pub fn new(hidden: usize, states: &[f32]) -> Result<Self> {
        Ok(Self { projection: Projection::fitted(hidden, states)?, people: 0, measured: Vec::new() })
    }

    /// Adds a person. All that was said is remembered; turns whose part is not [`Part::Train`] are measured too, against
    /// the person's other conversations. These should be ones that the backbone was not trained on: what it knows by
    /// heart no memory can predict better. Generic turns show where nothing is to be gained.
    ///
    /// # Errors
    /// [`AdapterError::Shape`] when states do not match the head.
    pub fn add(&mut self, turns: &[Turn], head: &Head) -> Result<()> {
        let rows = rows_of(self.projection.clone(), turns);
        for turn in turns.iter().filter(|turn| turn.part != Part::Train) {
            let found = read(turn, head, Some(&rows), None)?;
            let mut z = Vec::new();
            turn.states.z_into(0..turn.targets.len(), &mut z);
            self.measured.push(Measured {
                person: self.people,
                weight: turn.weight,
                generic: turn.part == Part::Generic,
                targets: turn.targets.clone(),
                z,
                base: found.base,
                samples: found.samples,
            });
        }
        self.people += 1;
        Ok(())
    }

    /// Tokens of people that are measured.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.measured.iter().filter(|m| !m.generic).map(|m| m.targets.len()).sum()
    }

    /// Mean loss in nats per token of base, and with the memory of a starter open everywhere.
    #[must_use]
    pub fn nll(&self, starter: &Starter) -> (f64, f64) {
        let said = || self.measured.iter().filter(|m| !m.generic);
        let tokens = self.tokens().max(1) as f64;
        let gained: f64 = said().flat_map(|m| m.gains(&starter.mixer)).sum();
        let base = said().flat_map(|m| &m.base).map(|l| -f64::from(*l)).sum::<f64>() / tokens;
        (base, base - gained / tokens)
    }

    /// The starter of these people for the backbone `model` of `hidden` values, with its `generic` text.
    ///
    /// # Errors
    /// [`AdapterError::Nothing`] when fewer than two people have a conversation that is measured, and another.
    pub fn starter(&self, model: &str, hidden: usize, lambda: f64, generic: Generic) -> Result<Starter> {
        let samples: Vec<&Sample> = self.measured.iter().flat_map(|m| m.samples.iter().flatten()).collect();
        let shown = |m: &&Measured| !m.generic && m.samples.iter().any(Option::is_some);
        let people: BTreeSet<usize> = self.measured.iter().filter(shown).map(|m| m.person).collect();
        if people.len() < 2 {
            let why = "fewer than two people have a conversation to measure and another to remember";
            return Err(AdapterError::Nothing(why.into()));
        }
        let mixer = fit(&samples, Mixer::default());
        let mut folds = vec![Tokens::default(); FOLDS];
        for measured in &self.measured {
            let place = people.iter().position(|person| *person == measured.person);
            let Some(fold) = place.and_then(|place| folds.get_mut(place % FOLDS)) else { continue };
            fold.z.extend_from_slice(&measured.z);
            fold.gain.extend(measured.gains(&mixer));
            fold.weight.extend(std::iter::repeat_n(f64::from(measured.weight), measured.targets.len()));
        }
        let gate = cross_fitted(&folds, Ask { hidden, lambda, prior: None })?;
        let projection = self.projection.clone();
        Ok(Starter { model: model.to_owned(), hidden, projection, mixer, gate, generic })
    }
}
