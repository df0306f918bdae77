//! One adapter: a side network, its variant and its gate; as safetensors bytes and at work.

use crate::error::{AdapterError, Result};
use crate::file::{File, Tensors, words};
use crate::gate::Gate;
use crate::head::Head;
use crate::job::Turn;
use crate::memory::{Memory, Mixed, Mixer, Projection, Rows};
use crate::side::{Shape, SideNetwork};
use crate::variant::Variant;
use candle_core::{Device, Tensor};
use safetensors::tensor::Dtype;

const FORMAT: &str = "aside-adapter-1";
const WHAT: &str = "the adapter";
/// Set in the numbers of conversations that were imported with an adapter; row ids of a vault are below.
const FOREIGN: u64 = 1 << 63;

/// A trained or newborn adapter.
pub struct Adapter {
    pub(crate) network: SideNetwork,
    pub(crate) gate: Option<Gate>,
    pub(crate) memory: Option<Memory>,
    variant: Variant,
}

impl Adapter {
    /// A newborn: without a gate, and with a side output of zero.
    ///
    /// # Errors
    /// When tensors cannot be made.
    pub fn birth(shape: Shape, variant: Variant, seed: u64) -> Result<Self> {
        Ok(Self { network: SideNetwork::birth(shape, seed)?, gate: None, memory: None, variant })
    }

    pub(crate) fn of(
        network: SideNetwork,
        variant: Variant,
        gate: Option<Gate>,
        memory: Option<Memory>,
    ) -> Self {
        Self { network, gate, memory, variant }
    }

    pub(crate) fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    /// Adds the tokens of lessons to the memory, without training: rows count as the mixer says, one that was fitted on
    /// earlier lessons or the newborn's. Variants without a memory stay as they are.
    pub fn remember<'a>(&mut self, turns: impl IntoIterator<Item = &'a Turn>) {
        if !self.variant.remembers() {
            return;
        }
        let hidden = self.shape().hidden;
        let newborn = || Memory { rows: Rows::new(Projection::seeded(hidden)), mixer: Mixer::default() };
        self.memory.get_or_insert_with(newborn).add(turns);
    }

    /// Drops the memory's rows of a conversation, exactly; how many. Networks, gate and mixer stay as they were trained.
    pub fn forget(&mut self, conversation: u64) -> usize {
        self.memory.as_mut().map_or(0, |memory| memory.rows.forget(conversation))
    }

    /// Marks its conversations as those of another vault, whose numbers say nothing in this one.
    pub fn estrange(&mut self) {
        if let Some(memory) = &mut self.memory {
            memory.rows.conversations.iter_mut().for_each(|c| *c |= FOREIGN);
        }
    }

    /// Rows of the personal memory.
    #[must_use]
    pub fn memory_rows(&self) -> usize {
        self.memory.as_ref().map_or(0, |memory| memory.rows.len())
    }

    /// Whether it has anything to say: a newborn network without rows is the backbone, and no position need be open for it.
    ///
    /// # Errors
    /// When tensors cannot be read.
    pub fn speaks(&self) -> Result<bool> {
        Ok(self.memory_rows() > 0 || !self.network.is_newborn()?)
    }

    /// Sizes.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.network.shape()
    }

    /// What it was trained for.
    #[must_use]
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// The gate, once one is fitted.
    #[must_use]
    pub fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    /// The same with its gate held to a budget, see [`Gate::within`].
    #[must_use]
    pub fn within(mut self, budget: f32) -> Self {
        self.gate = self.gate.map(|gate| gate.within(budget));
        self
    }

    /// Parameters of side network and gate.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let network: usize = self.network.variables().map(|v| v.elem_count()).sum();
        let gate = self.gate.as_ref().map_or(0, |g| g.weight.len() + 2);
        (network + gate) as u64
    }

    /// g for `n` positions: `taps` n * layer_taps * H RMS-normalised, `z` n * H unnormalised; n * H values.
    ///
    /// # Errors
    /// [`AdapterError::Shape`] when lengths do not match.
    pub fn side_output(&self, taps: &[f32], z: &[f32]) -> Result<Vec<f32>> {
        let Shape { hidden, layer_taps, .. } = self.shape();
        let n = z.len() / hidden;
        if n == 0 || z.len() != n * hidden || taps.len() != n * layer_taps * hidden {
            return Err(AdapterError::Shape("taps and z do not match this adapter".into()));
        }
        let taps = Tensor::from_slice(taps, (n, layer_taps * hidden), &Device::Cpu)?;
        let z = Tensor::from_slice(z, (n, hidden), &Device::Cpu)?;
        Ok(self.network.forward(&taps, &z, None)?.flatten_all()?.to_vec1()?)
    }

    /// The logits an open position samples from: W (z + g), or W g where z takes no part (method, section 2).
    ///
    /// # Errors
    /// [`AdapterError::Shape`] when lengths do not match.
    pub fn open_logits(&self, head: &Head, taps: &[f32], z: &[f32]) -> Result<Vec<f32>> {
        let mut hidden = self.side_output(taps, z)?;
        if self.variant.integrates() {
            hidden.iter_mut().zip(z).for_each(|(g, z)| *g += z);
        }
        head.logits(&hidden)
    }

    /// What the memory says at a state `z` (H): `base` are base's log-probabilities there (V). Rows of the lesson
    /// source `skip` do not vote: that conversation is before the backbone's eyes anyway.
    #[must_use]
    pub fn recall(&self, z: &[f32], base: &[f32], skip: Option<u64>) -> Mixed {
        self.memory.as_ref().map_or_else(Mixed::default, |memory| memory.at(z, base, skip))
    }

    /// As safetensors; the same adapter gives the same bytes.
    ///
    /// # Errors
    /// When tensors cannot be read.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let (shape, mut file) = (self.shape(), Tensors::default());
        for ((name, dims), values) in shape.parameters().into_iter().zip(self.network.values()?) {
            file.floats(&name, &dims, &values);
        }
        if let Some(gate) = &self.gate {
            file.gate(gate);
        }
        if let Some(Memory { rows, mixer }) = &self.memory {
            let n = rows.len();
            file.mixer(mixer);
            file.projection(&rows.projection, shape.hidden);
            file.put(
                "memory.keys",
                Dtype::I8,
                &[n, rows.width],
                rows.keys().map(i8::cast_unsigned).collect(),
            );
            file.floats("memory.scales", &[n], &rows.scales);
            let values = rows.values.iter().flat_map(|v| v.to_le_bytes()).collect();
            file.put("memory.values", Dtype::U32, &[n], values);
            let conversations = rows.conversations.iter().flat_map(|v| v.to_le_bytes()).collect();
            file.put("memory.conversations", Dtype::U64, &[n], conversations);
        }
        let sizes =
            [shape.hidden, shape.vocab, shape.layer_taps, shape.rank].map(|n| n.to_string()).join(" ");
        file.finish(WHAT, format!("{FORMAT} {} {sizes}", self.variant))
    }

    /// Reads what [`Adapter::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`AdapterError::Damaged`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let file = File::open(WHAT, bytes)?;
        let (variant, shape) =
            parse(file.about()).ok_or_else(|| file.damaged("it does not say what it is"))?;
        let values = shape
            .parameters()
            .iter()
            .map(|(name, dims)| file.floats(name, Some(dims)))
            .collect::<Result<Vec<_>>>()?;
        let (gate, memory) = (file.gate(shape.hidden)?, read_memory(&file, shape)?);
        Ok(Self { network: SideNetwork::from_values(shape, &values)?, gate, memory, variant })
    }
}

/// The memory of a stored adapter, if it has one.
fn read_memory(file: &File<'_>, shape: Shape) -> Result<Option<Memory>> {
    let Some(mixer) = file.mixer()? else { return Ok(None) };
    let keys: Vec<i8> = file.part("memory.keys", Dtype::I8)?.iter().map(|k| k.cast_signed()).collect();
    let scales = file.floats("memory.scales", None)?;
    let values = words(file.part("memory.values", Dtype::U32)?).map(u32::from_le_bytes).collect();
    let conversations =
        words(file.part("memory.conversations", Dtype::U64)?).map(u64::from_le_bytes).collect();
    let rows = Rows::from_parts(file.projection(shape.hidden)?, &keys, &scales, values, conversations);
    let rows =
        rows.ok_or_else(|| file.damaged("its memory does not hold together, or an older build wrote it"))?;
    Ok(Some(Memory { rows, mixer }))
}

fn parse(about: &str) -> Option<(Variant, Shape)> {
    let mut words = about.split(' ');
    if words.next()? != FORMAT {
        return None;
    }
    let variant = words.next()?.parse().ok()?;
    let mut size = || words.next()?.parse::<usize>().ok().filter(|n| (1..1 << 24).contains(n));
    let shape = Shape { hidden: size()?, vocab: size()?, layer_taps: size()?, rank: size()? };
    (shape.layer_taps < 256).then_some((variant, shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::tests::random;

    const SHAPE: Shape = Shape { hidden: 256, vocab: 32, layer_taps: 1, rank: 4 };

    #[test]
    fn a_newborn_is_exactly_the_backbone() {
        let head = random(32, 256, 2);
        let adapter = Adapter::birth(SHAPE, Variant::Spa, 1).unwrap();
        let z: Vec<f32> = (0..512).map(|i| (i as f32).sin() * 3.0).collect();
        let taps: Vec<f32> = (0..512).map(|i| (i as f32).cos()).collect();
        assert_eq!(adapter.open_logits(&head, &taps, &z).unwrap(), head.logits(&z).unwrap());
        assert!(adapter.side_output(&taps[1..], &z).is_err());
        assert!(!adapter.speaks().unwrap());
    }

    #[test]
    fn what_is_recalled_changes_probabilities_which_still_sum_to_one() {
        let mut adapter = Adapter::birth(SHAPE, Variant::Spa, 1).unwrap();
        let z: Vec<f32> = (0..256).map(|i| (i as f32).sin() * 3.0).collect();
        let base = vec![(1f32 / 32.0).ln(); 32];
        assert_eq!(adapter.recall(&z, &base, None), Mixed::default());
        let mut rows = Rows::new(Projection::seeded(256));
        rows.push(7, 9, &z);
        adapter.memory = Some(Memory { rows, mixer: Mixer::default() });
        assert!(adapter.speaks().unwrap());
        let mut fused = base.clone();
        adapter.recall(&z, &base, None).fuse(&mut fused);
        assert!((fused.iter().map(|l| l.exp()).sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(fused[9] > base[9] && fused[8] < base[8]);
        adapter.recall(&z, &base, Some(7)).fuse(&mut fused);
        assert!(fused[9] > base[9], "nobody votes, nothing changes");
    }

    #[test]
    fn bytes_come_back_and_damage_is_noticed() {
        let mut adapter = Adapter::birth(SHAPE, Variant::FullSeparation, 1).unwrap();
        adapter.gate = Some(Gate {
            weight: vec![0.25; 512],
            bias: [0.5, -1.0],
            threshold: 0.6,
            budget: 1.0,
            table: vec![(0.5, 0.7), (0.9, 0.1)],
        });
        let mut rows = Rows::new(Projection::seeded(SHAPE.hidden));
        (0..3u32).for_each(|i| rows.push(7, i, &[i as f32 - 1.0; 256]));
        adapter.memory = Some(Memory { rows, mixer: Mixer::default() });
        let bytes = adapter.to_bytes().unwrap();
        assert_eq!(bytes, adapter.to_bytes().unwrap());
        let back = Adapter::from_bytes(&bytes).unwrap();
        assert_eq!((back.variant(), back.shape(), back.gate()), (adapter.variant(), SHAPE, adapter.gate()));
        assert_eq!(back.network.values().unwrap(), adapter.network.values().unwrap());
        assert_eq!(back.parameters(), adapter.parameters());
        assert!(back.memory == adapter.memory && back.memory_rows() == 3);
        for cut in [0, 7, 8, 100, bytes.len() - 1] {
            assert!(Adapter::from_bytes(&bytes[..cut]).is_err());
        }
        for at in (0..bytes.len()).step_by(997) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x40;
            let _ = Adapter::from_bytes(&flipped);
        }
    }
}
