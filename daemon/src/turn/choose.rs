//! The device's side of an open position: decode the state, run the side network, sample with the cloud's own noise.

use std::sync::Arc;

use aside_adapter::{Adapter, AdapterError, Gate};
use aside_cloud_api::codec::CodecError;
use aside_cloud_api::sampling::{Sampler, log_softmax};

use crate::kit::Kit;

/// Chooses tokens at open positions of one answer.
pub struct Chooser {
    /// Head and codec.
    pub kit: Arc<Kit>,
    /// The side network.
    pub adapter: Arc<Adapter>,
    /// The gate, where the device evaluates it.
    pub gate: Option<Gate>,
    /// Noise and limits, as the cloud has them.
    pub sampler: Sampler,
    /// The lesson source that this conversation is: its rows of the memory do not vote.
    pub source: Option<u64>,
}

/// What the device chose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// Token id.
    pub id: u32,
    /// By the side path; else the gate at home kept the position closed.
    pub side: bool,
    /// Gate probability, where the gate ran here.
    pub p: Option<f32>,
}

/// Why there is no choice.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// The cloud sent no state of this model.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The side network failed.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
}

impl Chooser {
    /// The token at position `index` with `opened` side tokens before it, where the cloud would say `choice`. Computes; call
    /// it off the runtime's threads.
    ///
    /// # Errors
    /// [`ChooseError`].
    pub fn choose(&self, index: u32, opened: u32, choice: u32, state: &[u8]) -> Result<Choice, ChooseError> {
        let state = self.kit.layout().decode(state)?;
        let p = self.gate.as_ref().map(|gate| gate.probability(&state.z));
        if let (Some(gate), Some(p)) = (&self.gate, p)
            && !gate.opens_at(p, index, opened)
        {
            return Ok(Choice { id: choice, side: false, p: Some(p) });
        }
        let head = self.kit.head();
        let mut fused = self.adapter.open_logits(head, &state.taps, &state.z)?;
        log_softmax(&mut fused);
        if self.adapter.memory_rows() > 0 {
            let mut base = head.logits(&state.z)?;
            log_softmax(&mut base);
            self.adapter.recall(&state.z, &base, self.source).fuse(&mut fused);
        }
        Ok(Choice { id: self.sampler.choose(&fused, index), side: true, p })
    }
}
