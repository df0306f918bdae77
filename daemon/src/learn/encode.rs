//! Fetches the states of a conversation's turns from the cloud: once, window by window (method, section 5).

use super::import::{Line, Role};
use super::window::{Window, windows};
use crate::kit::{Encoded, Kit};
use crate::vault::ShippedTurn;
use aside_cloud_api::link::LinkError;
use aside_cloud_api::link::client::Link;
use aside_cloud_api::proto::{self, reply, request};
use std::ops::Range;

/// The targets of one turn and the states that predict them, as they came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EncodedTurn {
    /// Number of the message in its conversation.
    pub(super) turn: usize,
    /// Tokens of the message text and the end marker.
    pub(super) targets: Vec<u32>,
    /// One codec state per target.
    pub(super) states: Vec<u8>,
}

impl From<ShippedTurn> for EncodedTurn {
    fn from((turn, targets, states): ShippedTurn) -> Self {
        Self { turn: turn as usize, targets, states }
    }
}

/// Why a conversation has no states.
#[derive(Debug, thiserror::Error)]
pub(super) enum EncodeError {
    /// The link broke or the cloud refused.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The kit's template or tokenizer failed.
    #[error("the conversation does not fit the model's chat template: {0}")]
    Template(String),
    /// States of a wrong size or number came.
    #[error("the cloud sent states that do not match its own description")]
    States,
}

/// Encodes the turns of a conversation; system messages are context only. Turns of `have` are taken from there where
/// their tokens are the same.
///
/// # Errors
/// [`EncodeError`]; a broken link may be tried again.
pub(super) async fn encode(
    link: &Link,
    kit: &Kit,
    lines: &[Line],
    have: &[EncodedTurn],
) -> Result<Vec<EncodedTurn>, EncodeError> {
    let conversation = kit.encode_conversation(lines).map_err(|e| EncodeError::Template(e.to_string()))?;
    let bytes = kit.layout().bytes();
    let (mut out, turns) = split(&conversation, lines, have, bytes);
    for window in windows(conversation.ids.len(), &turns, kit.window()) {
        let states = fetch(link, kit, &conversation.ids, &window).await?;
        let first = first_state(&window);
        for (turn, range) in window.targets {
            // The state at t predicts t + 1.
            let from = (range.start - 1 - first) * bytes;
            let piece = states.get(from..from + range.len() * bytes).ok_or(EncodeError::States)?;
            let targets = conversation.ids.get(range).ok_or(EncodeError::States)?;
            match out.last_mut().filter(|last| last.turn == turn) {
                Some(last) => {
                    last.targets.extend_from_slice(targets);
                    last.states.extend_from_slice(piece);
                }
                None => {
                    out.push(EncodedTurn { turn, targets: targets.to_vec(), states: piece.to_vec() });
                }
            }
        }
    }
    Ok(out)
}

/// Turns of `have` that fit, and the target ranges of the turns that are to be fetched.
fn split(
    conversation: &Encoded,
    lines: &[Line],
    have: &[EncodedTurn],
    bytes: usize,
) -> (Vec<EncodedTurn>, Vec<(usize, Range<usize>)>) {
    let same = |turn: &&EncodedTurn| {
        let ids = conversation.spans.get(turn.turn).and_then(|span| conversation.ids.get(span.clone()));
        ids == Some(turn.targets.as_slice()) && turn.states.len() == turn.targets.len() * bytes
    };
    let fitting: Vec<EncodedTurn> = have.iter().filter(same).cloned().collect();
    let spans = conversation.spans.iter().cloned().enumerate();
    let missing = spans
        .filter(|(turn, _)| lines.get(*turn).is_some_and(|line| line.role != Role::System))
        .filter(|(turn, _)| fitting.iter().all(|had| had.turn != *turn))
        .collect();
    (fitting, missing)
}

/// Position of the first state that a window needs.
fn first_state(window: &Window) -> usize {
    window.targets.first().map_or(window.tokens.start, |(_, range)| range.start.saturating_sub(1))
}

/// The states from the first one needed to the last token but one.
async fn fetch(link: &Link, kit: &Kit, ids: &[u32], window: &Window) -> Result<Vec<u8>, EncodeError> {
    let tokens =
        ids.get(window.tokens.start..window.tokens.end.saturating_sub(1)).ok_or(EncodeError::States)?;
    of_tokens(link, kit, tokens, first_state(window) - window.tokens.start).await
}

/// The states of `tokens` from position `from` on.
///
/// # Errors
/// [`EncodeError::Link`] and [`EncodeError::States`].
pub(super) async fn of_tokens(
    link: &Link,
    kit: &Kit,
    tokens: &[u32],
    from: usize,
) -> Result<Vec<u8>, EncodeError> {
    let body = proto::Encode { tokens: tokens.to_vec(), from: from as u32 };
    let mut exchange = link.open(request::Body::Encode(body)).await?;
    let bytes = kit.layout().bytes();
    let mut states = Vec::with_capacity((tokens.len() - from) * bytes);
    loop {
        match exchange.next().await? {
            reply::Body::EncodeChunk(chunk) => {
                let expected = from + states.len() / bytes;
                if chunk.first as usize != expected || chunk.states.len() != chunk.count as usize * bytes {
                    return Err(EncodeError::States);
                }
                states.extend_from_slice(&chunk.states);
            }
            reply::Body::EncodeDone(_) if states.len() == (tokens.len() - from) * bytes => return Ok(states),
            _ => return Err(EncodeError::States),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_chat_shipped_is_not_fetched_again_and_other_tokens_are() {
        let line = |role| Line { role, content: "x".into() };
        let lines = [line(Role::System), line(Role::User), line(Role::Assistant), line(Role::Assistant)];
        let conversation = Encoded { ids: (0..10).collect(), spans: vec![0..1, 2..4, 5..7, 8..10] };
        let turn = |turn, targets: [u32; 2], bytes| EncodedTurn {
            turn,
            targets: targets.to_vec(),
            states: vec![7; bytes],
        };
        let have = [turn(2, [5, 6], 6), turn(3, [8, 99], 6)];
        let (fitting, missing) = split(&conversation, &lines, &have, 3);
        assert_eq!(fitting, [turn(2, [5, 6], 6)]);
        assert_eq!(missing, [(1, 2..4), (3, 8..10)]);
        // A state of another size is of no use.
        let (fitting, missing) = split(&conversation, &lines, &[turn(2, [5, 6], 5)], 3);
        assert!(fitting.is_empty() && missing.len() == 3);
    }
}
