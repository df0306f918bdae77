//! Makes the trainer's job out of lessons with their states.

use aside_adapter::{Job, Part, Settings, Turn, Variant};
use aside_cloud_api::codec::{CodecError, Layout, States};

use super::encode::EncodedTurn;
use crate::kit::Kit;
use crate::vault::LessonRow;

/// The job on `lessons`: a newborn side network, so that the same lessons and seed give the same version; measured with
/// `budget` as it serves.
///
/// # Errors
/// [`CodecError`] when a cached state does not fit the backbone.
pub(super) fn job(
    kit: &Kit,
    lessons: &[LessonRow],
    variant: Variant,
    seed: u64,
    budget: f32,
) -> Result<Job, CodecError> {
    let turns = turns(kit.layout(), lessons)?;
    let settings = Settings { budget: f64::from(budget), ..Settings::of(variant) };
    let starter = kit.starter_bytes().map(<[u8]>::to_vec);
    Ok(Job { shape: kit.shape(), variant, settings, turns, parent: None, starter, seed })
}

/// Lessons with their states; those without a token are left out.
///
/// # Errors
/// As [`job`].
pub(super) fn turns(layout: Layout, lessons: &[LessonRow]) -> Result<Vec<Turn>, CodecError> {
    lessons
        .iter()
        .filter(|l| !l.targets.is_empty())
        .map(|l| {
            let part = match l.part {
                0 => Part::Train,
                1 => Part::EarlyStop,
                _ => Part::HeldOut,
            };
            Ok(Turn {
                conversation: l.source.cast_unsigned(),
                own: l.own,
                weight: l.weight as f32,
                part,
                targets: l.targets.clone(),
                states: States::new(layout, l.states.clone())?,
            })
        })
        .collect()
}

/// A turn that only measures.
///
/// # Errors
/// As [`job`].
pub(super) fn measured(layout: Layout, own: bool, turn: &EncodedTurn) -> Result<Turn, CodecError> {
    let states = States::new(layout, turn.states.clone())?;
    let targets = turn.targets.clone();
    Ok(Turn { conversation: 0, own, weight: 1.0, part: Part::HeldOut, targets, states })
}
