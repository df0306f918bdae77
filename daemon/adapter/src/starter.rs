//! The starter: what is learned once per backbone from other people's conversations and comes with it. Its gate and its
//! mixer serve until a person has their own, which then begin from it (method, sections 3 and 8); nothing personal is in it.

use crate::adapter::Adapter;
use crate::error::Result;
use crate::file::{File, Tensors};
use crate::gate::Gate;
use crate::memory::{Memory, Mixer, Rows};
use crate::side::{Shape, SideNetwork};
use crate::variant::Variant;

const FORMAT: &str = "aside-starter-1";
const WHAT: &str = "the starter of this backbone";

/// A gate and a mixer that fit many people.
#[derive(Debug, Clone, PartialEq)]
pub struct Starter {
    /// Identity of the backbone it was learned with.
    pub(crate) model: String,
    pub(crate) hidden: usize,
    pub(crate) mixer: Mixer,
    pub(crate) gate: Option<Gate>,
}

impl Starter {
    /// Identity of the backbone it is for.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// H of that backbone.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// The gate, where opening pays at all.
    #[must_use]
    pub fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    /// An adapter of it: a newborn network and a memory without rows, which opens nothing before it has some.
    ///
    /// # Errors
    /// When tensors cannot be made.
    pub fn adapter(&self, shape: Shape) -> Result<Adapter> {
        let memory = Memory { rows: Rows::new(shape.hidden), mixer: self.mixer };
        Ok(Adapter::of(SideNetwork::birth(shape, 0)?, Variant::Spa, self.gate.clone(), Some(memory)))
    }

    /// As safetensors; the same starter gives the same bytes.
    ///
    /// # Errors
    /// When tensors cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut file = Tensors::default();
        file.mixer(&self.mixer);
        if let Some(gate) = &self.gate {
            file.gate(gate);
        }
        file.finish(WHAT, format!("{FORMAT} {} {}", self.hidden, self.model))
    }

    /// Reads what [`Starter::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`crate::AdapterError::Damaged`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let file = File::open(WHAT, bytes)?;
        let about = file.about().strip_prefix(FORMAT).and_then(|rest| rest.trim().split_once(' '));
        let about = about.and_then(|(hidden, model)| Some((hidden.parse().ok()?, model.to_owned())));
        let (hidden, model) = about.ok_or_else(|| file.damaged("it does not say what it is"))?;
        let mixer = file.mixer()?.ok_or_else(|| file.damaged("it has no mixer"))?;
        Ok(Self { model, hidden, mixer, gate: file.gate(hidden)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_damage_is_noticed() {
        let gate = Gate { weight: vec![0.5; 64], bias: [0.0, 1.0], threshold: 0.5, table: vec![(0.5, 0.4)] };
        let starter = Starter { model: "ab12".into(), hidden: 32, mixer: Mixer::default(), gate: Some(gate) };
        let bytes = starter.to_bytes().unwrap();
        assert_eq!(Starter::from_bytes(&bytes).unwrap(), starter);
        for cut in [0, 7, 8, 100, bytes.len() - 1] {
            assert!(Starter::from_bytes(&bytes[..cut]).is_err());
        }
        let other = Starter { hidden: 33, ..starter.clone() }.to_bytes().unwrap();
        assert!(Starter::from_bytes(&other).is_err(), "a gate of another width");
        let adapter = starter.adapter(Shape { hidden: 32, vocab: 8, layer_taps: 1, rank: 4 }).unwrap();
        assert_eq!((adapter.gate(), adapter.memory_rows()), (starter.gate(), 0));
    }
}
