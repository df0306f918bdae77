//! Which positions of an answer are open, and who chooses there: from the variant asked for, the adapter in use and
//! the privacy setting. Pure.

use std::sync::Arc;

use aside_adapter::{Adapter, Gate, Variant};
use aside_cloud_api::proto;
use aside_daemon_api::fault::{Fault, codes};

/// What the cloud is told about positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Every position closed.
    Closed,
    /// The gate decides, in the cloud.
    Gated,
    /// Every position is shipped.
    Open,
}

/// How one answer is decoded.
#[derive(Clone)]
pub struct Plan {
    /// The variant asked for.
    pub variant: Variant,
    /// What the cloud is told.
    pub mode: Mode,
    /// Networks of open positions; absent where everything is closed.
    pub adapter: Option<Arc<Adapter>>,
    /// The gate where one decides, with its threshold.
    pub gate: Option<Gate>,
    /// The gate is evaluated on the device.
    pub gate_at_home: bool,
}

/// The version in use cannot serve the variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No version, or one trained for something else.
    #[error("{}", describe(*wanted, *trained))]
    Variant {
        /// Asked for.
        wanted: Variant,
        /// What the version in use was trained for; absent when base is in use.
        trained: Option<Variant>,
    },
}

fn describe(wanted: Variant, trained: Option<Variant>) -> String {
    match trained {
        Some(trained) => {
            format!("the adapter in use was trained for {trained}; {wanted} needs its own training")
        }
        None => format!("no adapter is in use, and {wanted} needs its own training"),
    }
}

impl From<PlanError> for Fault {
    fn from(error: PlanError) -> Self {
        let PlanError::Variant { wanted, .. } = error;
        Self::new(codes::VARIANT, error.to_string()).repair(format!("aside learn --now --variant {wanted}"))
    }
}

/// Plans an answer. `budget` is the largest share of open tokens; 1 sets no limit.
///
/// # Errors
/// [`PlanError::Variant`] when the version in use has no weights for this variant.
pub fn plan(
    variant: Variant,
    adapter: Option<&Arc<Adapter>>,
    gate_at_home: bool,
    budget: f32,
) -> Result<Plan, PlanError> {
    let closed = Plan { variant, mode: Mode::Closed, adapter: None, gate: None, gate_at_home: false };
    if variant == Variant::Base {
        return Ok(closed);
    }
    let Some(adapter) = adapter else {
        // A newborn adds nothing to z: without one, whatever integrates is base.
        let trained = None;
        return if variant.integrates() {
            Ok(closed)
        } else {
            Err(PlanError::Variant { wanted: variant, trained })
        };
    };
    if !variant.served_by(adapter.variant()) {
        return Err(PlanError::Variant { wanted: variant, trained: Some(adapter.variant()) });
    }
    let adapter_in_use = Some(Arc::clone(adapter));
    if !variant.gated() {
        return Ok(Plan { mode: Mode::Open, adapter: adapter_in_use, ..closed });
    }
    // Without a gate nothing has shown where the side network helps: nothing opens.
    let Some(gate) = adapter.gate().cloned() else { return Ok(closed) };
    // A memory whose rows are all forgotten, beside a network that was never trained, says what base says.
    if !adapter.speaks().unwrap_or(true) {
        return Ok(closed);
    }
    let gate = gate.within(budget);
    let mode = if gate_at_home { Mode::Open } else { Mode::Gated };
    Ok(Plan { variant, mode, adapter: adapter_in_use, gate: Some(gate), gate_at_home })
}

impl Plan {
    /// The request that opens this plan's session.
    #[must_use]
    pub fn open_session(&self, session: u64) -> proto::OpenSession {
        let (mode, gate) = match self.mode {
            Mode::Closed => (proto::GateMode::Closed, None),
            Mode::Open => (proto::GateMode::Open, None),
            Mode::Gated => (proto::GateMode::Gated, self.gate.as_ref().map(wire)),
        };
        proto::OpenSession { session, mode: mode.into(), gate }
    }
}

fn wire(gate: &Gate) -> proto::Gate {
    let Gate { weight, bias, threshold, budget, .. } = gate.clone();
    proto::Gate { weight, bias: bias.to_vec(), threshold, budget }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aside_adapter::Shape;

    fn newborn(variant: Variant) -> Arc<Adapter> {
        let shape = Shape { hidden: 32, vocab: 16, layer_taps: 1, rank: 4 };
        Arc::new(Adapter::birth(shape, variant, 1).unwrap())
    }

    #[test]
    fn without_an_adapter_everything_is_base_or_an_error_that_names_the_training() {
        for variant in [Variant::Base, Variant::Spa, Variant::FullIntegration] {
            assert_eq!(plan(variant, None, false, 1.0).map(|p| p.mode), Ok(Mode::Closed));
        }
        let fault = Fault::from(plan(Variant::Lst, None, false, 1.0).map(|_| ()).unwrap_err());
        assert_eq!(
            (fault.code.as_str(), fault.repair.as_str()),
            ("variant", "aside learn --now --variant lst")
        );
    }

    #[test]
    fn a_version_serves_only_what_it_was_trained_for() {
        let spa = newborn(Variant::Spa);
        assert_eq!(plan(Variant::FullIntegration, Some(&spa), false, 1.0).map(|p| p.mode), Ok(Mode::Open));
        assert!(plan(Variant::FullSeparation, Some(&spa), false, 1.0).is_err());
        assert_eq!(plan(Variant::Base, Some(&spa), false, 1.0).map(|p| p.mode), Ok(Mode::Closed));
        assert_eq!(
            plan(Variant::Lst, Some(&newborn(Variant::Lst)), false, 1.0).map(|p| p.mode),
            Ok(Mode::Open)
        );
    }

    #[test]
    fn without_a_gate_nothing_opens() {
        let plan = plan(Variant::Spa, Some(&newborn(Variant::Spa)), false, 1.0);
        assert!(plan.is_ok_and(|p| p.mode == Mode::Closed && p.adapter.is_none()));
    }
}
