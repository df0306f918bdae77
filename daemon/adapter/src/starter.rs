//! The starter: what is learned once per backbone from other people's conversations and comes with it. Its gate and its
//! mixer serve until a person has their own, which then begin from it (method, sections 3 and 8); nothing personal is in it.

use crate::adapter::Adapter;
use crate::error::Result;
use crate::file::{File, Tensors, words};
use crate::gate::Gate;
use crate::memory::{Memory, Mixer, Projection, Rows};
use crate::side::{Shape, SideNetwork};
use crate::variant::Variant;
use safetensors::tensor::Dtype;

const FORMAT: &str = "aside-starter-1";
const WHAT: &str = "the starter of this backbone";
/// Sequences of generic text at most, and tokens of one: it comes from a cloud, and every device fetches its states.
const MOST: usize = 64;
const LONGEST: usize = 1024;
/// Numbers of gate and mixer beyond this are none that a fit gives, and would overflow where they are used.
const LARGEST: f32 = 1e4;
/// The same of a mixer: its first number is the logarithm of a temperature.
const LARGEST_MIXER: f64 = 50.0;

/// A gate and a mixer that fit many people.
#[derive(Clone, PartialEq)]
pub struct Starter {
    /// Identity of the backbone it was learned with.
    pub(crate) model: String,
    pub(crate) hidden: usize,
    pub(crate) projection: Projection,
    pub(crate) mixer: Mixer,
    pub(crate) gate: Option<Gate>,
    pub(crate) generic: Generic,
}

/// Text that the backbone wrote by itself, with nobody's words in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generic {
    /// Token ids, sequences of equal length.
    pub sequences: Vec<Vec<u32>>,
    /// Tokens at the beginning of each that it was given.
    pub context: usize,
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

    /// How states become keys.
    pub(crate) fn projection(&self) -> Projection {
        self.projection.clone()
    }

    /// The gate, where opening pays at all.
    #[must_use]
    pub fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    /// Text of the backbone, for anchors and for measuring.
    #[must_use]
    pub fn generic(&self) -> &Generic {
        &self.generic
    }

    /// An adapter of it: a newborn network and a memory without rows, which opens nothing before it has some.
    ///
    /// # Errors
    /// When tensors cannot be made.
    pub fn adapter(&self, shape: Shape) -> Result<Adapter> {
        let memory = Memory { rows: Rows::new(self.projection()), mixer: self.mixer };
        Ok(Adapter::of(SideNetwork::birth(shape, 0)?, Variant::Spa, self.gate.clone(), Some(memory)))
    }

    /// As safetensors; the same starter gives the same bytes.
    ///
    /// # Errors
    /// When tensors cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut file = Tensors::default();
        file.mixer(&self.mixer);
        file.projection(&self.projection, self.hidden);
        if let Some(gate) = &self.gate {
            file.gate(gate);
        }
        let Generic { sequences, context } = &self.generic;
        if let Some(first) = sequences.first() {
            let words = sequences.iter().flatten().flat_map(|id| id.to_le_bytes()).collect();
            file.put("generic.tokens", Dtype::U32, &[sequences.len(), first.len()], words);
            file.put("generic.context", Dtype::U32, &[1], (*context as u32).to_le_bytes().to_vec());
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
        let gate = file.gate(hidden)?;
        let numbers = gate.iter().flat_map(|gate| gate.weight.iter().chain(&gate.bias));
        if numbers.into_iter().any(|n| n.abs() > LARGEST) || mixer.0.iter().any(|n| n.abs() > LARGEST_MIXER) {
            return Err(file.damaged("its numbers are beyond all reason"));
        }
        let projection = file.projection(hidden)?;
        Ok(Self { model, hidden, projection, mixer, gate, generic: read_generic(&file)? })
    }
}

fn read_generic(file: &File<'_>) -> Result<Generic> {
    if !file.has("generic.tokens") {
        return Ok(Generic::default());
    }
    let ids = |name: &str| -> Result<Vec<u32>> {
        Ok(words(file.part(name, Dtype::U32)?).map(u32::from_le_bytes).collect())
    };
    let (tokens, length) = (ids("generic.tokens")?, file.columns("generic.tokens")?);
    let context = ids("generic.context")?.first().map_or(0, |n| *n as usize);
    if context == 0 || context >= length || length > LONGEST || tokens.len() > MOST * length {
        return Err(file.damaged("its generic text is of no use"));
    }
    Ok(Generic { sequences: tokens.chunks_exact(length).map(<[u32]>::to_vec).collect(), context })
}

impl std::fmt::Debug for Starter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Starter({})", self.model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_damage_is_noticed() {
        let gate = Gate {
            weight: vec![0.5; 64],
            bias: [0.0, 1.0],
            threshold: 0.5,
            budget: 1.0,
            table: vec![(0.5, 0.4)],
        };
        let generic = Generic { sequences: vec![vec![2, 92, 7], vec![2, 92, 8]], context: 2 };
        let (model, mixer) = ("ab12".into(), Mixer::default());
        let projection = Projection::seeded(32);
        let starter = Starter { model, hidden: 32, projection, mixer, gate: Some(gate), generic };
        let bytes = starter.to_bytes().unwrap();
        assert_eq!(Starter::from_bytes(&bytes).unwrap(), starter);
        for cut in [0, 7, 8, 100, bytes.len() - 1] {
            assert!(Starter::from_bytes(&bytes[..cut]).is_err());
        }
        let refused = |starter: Starter| Starter::from_bytes(&starter.to_bytes().unwrap()).is_err();
        assert!(refused(Starter { mixer: Mixer([1e9; 7]), ..starter.clone() }));
        let wide = Gate { bias: [0.0, 1e30], ..starter.gate.clone().unwrap() };
        assert!(refused(Starter { gate: Some(wide), ..starter.clone() }));
        for generic in [(65, 3, 2), (1, 2000, 2), (1, 3, 3), (1, 3, 0)] {
            let (many, length, context) = generic;
            let generic = Generic { sequences: vec![vec![1; length]; many], context };
            assert!(refused(Starter { generic, ..starter.clone() }));
        }
        let other = Starter { hidden: 33, ..starter.clone() }.to_bytes().unwrap();
        assert!(Starter::from_bytes(&other).is_err(), "a gate of another width");
        // A wide state's projection travels with the starter, and with every memory whose keys it made.
        let values: Vec<f32> = (0..320 * 256).map(|n| (n as f32).sin()).collect();
        let projection = Projection::of(320, values).unwrap();
        let wide = Starter { hidden: 320, projection: projection.clone(), gate: None, ..starter.clone() };
        assert_eq!(Starter::from_bytes(&wide.to_bytes().unwrap()).unwrap(), wide);
        let shape = Shape { hidden: 320, vocab: 8, layer_taps: 1, rank: 4 };
        let bytes = wide.adapter(shape).unwrap().to_bytes().unwrap();
        assert!(Adapter::from_bytes(&bytes).unwrap().memory().unwrap().rows.projection == projection);
        let adapter = starter.adapter(Shape { hidden: 32, vocab: 8, layer_taps: 1, rank: 4 }).unwrap();
        assert_eq!((adapter.gate(), adapter.memory_rows()), (starter.gate(), 0));
    }
}
