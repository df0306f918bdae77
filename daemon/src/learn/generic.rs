//! Generic text: what the backbone writes by itself. A tenth of what a training sees is of it, and a candidate must not
//! move away from it for nothing (method, section 5). It comes with the kit; its states are fetched once.

use aside_adapter::{Generic, Part, Turn};
use aside_cloud_api::codec::{CodecError, Layout, States};
use aside_daemon_api::fault::Fault;

use super::{Context, fetch};
use crate::faults::blocking;
use crate::kit::Kit;
use crate::vault::{Vault, VaultError};

/// Share of the lesson tokens of a training that is added in generic ones.
const SHARE: f64 = 0.1;
/// Weight of a generic token beside that of a lesson's. Gated cost of 6 persona users by the share of the weight that generic
/// tokens have: none -0.063 nats, 6 % -0.064 to -0.067, 11 % -0.062, 23 % -0.054 (the gate closes where it pays); what they
/// lose on other generic text: 2.1, 1.5, 0.8 and 0.4 % NLL.
const WEIGHT: f64 = 0.6;
/// Every so many-th sequence measures, the others train.
const MEASURES: usize = 4;
/// Its turns belong to conversations from here on.
const CONVERSATIONS: u64 = 1 << 62;

/// One sequence with its states (one a target).
#[must_use]
pub fn turn(number: usize, sequence: &[u32], context: usize, states: States) -> Turn {
    Turn {
        conversation: CONVERSATIONS + number as u64,
        own: false,
        weight: 1.0,
        part: Part::Generic,
        targets: sequence.get(context..).unwrap_or_default().to_vec(),
        states,
    }
}

/// Those that train beside `lessons`: up to a tenth of their tokens.
#[must_use]
pub fn beside(generic: &[Turn], lessons: &[Turn]) -> Vec<Turn> {
    let trained = || lessons.iter().filter(|turn| turn.part == Part::Train);
    let tokens: usize = trained().map(|turn| turn.targets.len()).sum();
    let weight: f64 = trained().map(|turn| f64::from(turn.weight) * turn.targets.len() as f64).sum();
    let weight = (WEIGHT * weight / tokens.max(1) as f64) as f32;
    let mut room = (SHARE * tokens as f64) as usize;
    let training = generic.iter().enumerate().filter(|(n, _)| n % MEASURES != MEASURES - 1).map(|(_, t)| t);
    let fits = |turn: &&Turn| {
        let fits = turn.targets.len() <= room;
        room = room.saturating_sub(turn.targets.len());
        fits
    };
    training.take_while(fits).cloned().map(|turn| Turn { weight, ..turn }).collect()
}

/// Those that measure.
#[must_use]
pub fn measuring(generic: &[Turn]) -> Vec<Turn> {
    generic.iter().skip(MEASURES - 1).step_by(MEASURES).cloned().collect()
}

/// Fetches the states of generic text that are not here yet.
///
/// # Errors
/// Those of cloud and vault.
pub(super) async fn fetch(context: &Context, kit: &Kit) -> Result<(), Fault> {
    let Some(Generic { sequences, context: given }) = kit.starter().map(|starter| starter.generic()) else {
        return Ok(());
    };
    for (number, sequence) in sequences.iter().enumerate() {
        let (vault, key) = (context.vault.clone(), key(kit, number));
        let (asked, bytes) = (key.clone(), sequence.len().saturating_sub(*given) * kit.layout().bytes());
        if blocking(move || Ok(vault.meta(&asked)?.is_some_and(|cached| cached.len() == bytes))).await? {
            continue;
        }
        let states = fetch::of_tokens(context, kit, sequence, given.saturating_sub(1)).await?;
        let (vault, of) = (context.vault.clone(), prefix(kit));
        blocking(move || {
            vault.put_meta(&key, &states)?;
            // Those of another kit are of no use any more.
            vault.keep_meta(PREFIX, &of)
        })
        .await?;
    }
    Ok(())
}

/// Generic text with the states that were fetched.
///
/// # Errors
/// [`VaultError`], or [`CodecError`] when a cached state does not fit the backbone.
pub(super) fn turns<E: From<VaultError> + From<CodecError>>(
    vault: &Vault,
    kit: &Kit,
) -> Result<Vec<Turn>, E> {
    let Some(Generic { sequences, context }) = kit.starter().map(|starter| starter.generic()) else {
        return Ok(Vec::new());
    };
    let layout: Layout = kit.layout();
    let mut out = Vec::new();
    for (number, sequence) in sequences.iter().enumerate() {
        let expected = sequence.len().saturating_sub(*context) * layout.bytes();
        // Others are fetched again.
        if let Some(bytes) = vault.meta(&key(kit, number))?.filter(|bytes| bytes.len() == expected) {
            out.push(turn(number, sequence, *context, States::new(layout, bytes)?));
        }
    }
    Ok(out)
}

/// Keys of states in the vault's small values.
const PREFIX: &str = "generic.";

fn prefix(kit: &Kit) -> String {
    format!("{PREFIX}{}.", kit.sha256())
}

fn key(kit: &Kit, number: usize) -> String {
    format!("{}{number}", prefix(kit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { hidden: 32, layer_taps: 1 };

    fn generic(n: usize) -> Vec<Turn> {
        let states = || States::encode(LAYOUT, &[0.5; 32 * 10], &[1.0; 32 * 10]);
        (0..n).map(|number| turn(number, &[7; 12], 2, states())).collect()
    }

    #[test]
    fn a_tenth_trains_with_less_weight_and_every_fourth_measures() {
        let all = generic(8);
        let lesson = Turn { part: Part::Train, weight: 0.5, targets: vec![1; 300], ..all[0].clone() };
        let other = Turn { part: Part::HeldOut, targets: vec![1; 900], ..lesson.clone() };
        let beside = beside(&all, &[lesson, other]);
        let numbers: Vec<u64> = beside.iter().map(|t| t.conversation - CONVERSATIONS).collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert!(
            beside.iter().all(|t| (t.weight - 0.3).abs() < 1e-6 && t.part == Part::Generic && !t.judged())
        );
        let numbers: Vec<u64> = measuring(&all).iter().map(|t| t.conversation - CONVERSATIONS).collect();
        assert_eq!(numbers, [3, 7]);
    }
}
