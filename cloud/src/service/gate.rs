//! The gate of a session: sigma of a position from its decoded z (method, sections 1 and 8).

use aside_cloud_api::codec::budget;
use aside_cloud_api::proto;

/// What decides whether a position is open.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gating {
    mode: proto::GateMode,
    gate: Option<proto::Gate>,
}

impl Gating {
    /// For a backbone with `hidden` values; an error in words when the gate does not fit.
    pub(super) fn new(mode: i32, gate: Option<proto::Gate>, hidden: usize) -> Result<Self, String> {
        let mode = proto::GateMode::try_from(mode).map_err(|_| "an unknown gate mode".to_owned())?;
        if let Some(gate) = &gate {
            let finite = gate.weight.iter().chain(&gate.bias).all(|v| v.is_finite());
            if gate.weight.len() != 2 * hidden || gate.bias.len() != 2 || !finite {
                return Err(format!("a gate has 2 x {hidden} weights and 2 biases, all finite"));
            }
        }
        if mode == proto::GateMode::Gated && gate.is_none() {
            return Err("a gated session needs a gate".to_owned());
        }
        Ok(Self { mode, gate })
    }

    /// (gate probability where a gate runs, whether the position is open); `z` has H values, and position `index` of the
    /// answer comes after `opened` open ones.
    pub(super) fn decide(&self, z: &[f32], index: u32, opened: u32) -> (Option<f32>, bool) {
        match self.mode {
            proto::GateMode::Closed => (None, false),
            proto::GateMode::Open => (self.gate.as_ref().map(|g| probability(g, z)), true),
            proto::GateMode::Gated => {
                let Some(gate) = &self.gate else { return (None, false) };
                let p = probability(gate, z);
                (Some(p), p > gate.threshold.max(0.5) && budget::allows(gate.budget, index, opened))
            }
        }
    }
}

/// `softmax(W z + b)[1]`.
fn probability(gate: &proto::Gate, z: &[f32]) -> f32 {
    let (closed, open) = gate.weight.split_at(gate.weight.len() / 2);
    let dot = |row: &[f32]| row.iter().zip(z).map(|(a, b)| a * b).sum::<f32>();
    let bias = |n: usize| gate.bias.get(n).copied().unwrap_or(0.0);
    let difference = (dot(open) + bias(1)) - (dot(closed) + bias(0));
    1.0 / (1.0 + (-difference).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(threshold: f32) -> Option<proto::Gate> {
        Some(proto::Gate { weight: vec![0.0, 0.0, 1.0, -1.0], bias: vec![0.0, 0.5], threshold, budget: 0.5 })
    }

    #[test]
    fn decides_by_mode_and_threshold() {
        let decide = |mode: proto::GateMode, gate| {
            Gating::new(mode as i32, gate, 2).unwrap().decide(&[1.0, 0.5], 9, 3)
        };
        let p = 1.0 / (1.0 + (-1.0f32).exp());
        assert_eq!(decide(proto::GateMode::Closed, None), (None, false));
        assert_eq!(decide(proto::GateMode::Open, None), (None, true));
        assert_eq!(decide(proto::GateMode::Open, gate(0.9)), (Some(p), true));
        assert_eq!(decide(proto::GateMode::Gated, gate(0.0)), (Some(p), true));
        assert_eq!(decide(proto::GateMode::Gated, gate(0.9)), (Some(p), false));
        let held = Gating::new(proto::GateMode::Gated as i32, gate(0.0), 2).unwrap();
        assert_eq!(held.decide(&[1.0, 0.5], 9, 13), (Some(p), false), "its share is used up");
    }

    #[test]
    fn a_gate_that_does_not_fit_is_refused() {
        assert!(Gating::new(1, None, 2).is_err());
        assert!(Gating::new(1, gate(0.5), 3).is_err());
        assert!(Gating::new(9, None, 2).is_err());
        let mut nan = gate(0.5);
        nan.as_mut().unwrap().bias[0] = f32::NAN;
        assert!(Gating::new(1, nan, 2).is_err());
    }
}
