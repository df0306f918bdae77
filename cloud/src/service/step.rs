//! One step of the engine: a ragged batch of everything that is ready, and what comes out of it.

use super::engine_thread::Engine;
use super::generation::After;
use super::work::Ending;
use crate::engine::{Backbone, Chunk, EngineError, Hidden};
use aside_cloud_api::codec::round_trip_z;
use aside_cloud_api::fault;
use aside_cloud_api::proto::{self, reply};
use aside_cloud_api::sampling::{log_softmax, top};
use std::time::Instant;

/// Positions of a prompt fed at once, so that nobody waits long for somebody else's prompt.
const PREFILL: usize = 64;
/// The same of an encoding while answers run.
const ENCODE_BESIDE: usize = 16;
/// Candidates of base that travel with a position.
const TOP: usize = 5;

/// What an entry of the batch belongs to.
#[derive(Clone, Copy)]
enum Owner {
    Answer(usize),
    Encoding(usize),
}

impl Engine {
    /// One ragged batch: every answer that can go on, and one encoding.
    pub(super) fn step(&mut self) {
        let mut owners = Vec::new();
        let mut chunks: Vec<Chunk<'_>> = Vec::new();
        for (number, answer) in self.answers.iter().enumerate() {
            let tokens = answer.generation.feed(PREFILL);
            let Some(session) = self.sessions.get(&answer.session).filter(|_| !tokens.is_empty()) else {
                continue;
            };
            owners.push((Owner::Answer(number), tokens.to_vec()));
            chunks.push(Chunk { sequence: session.sequence, tokens });
        }
        let most = if owners.is_empty() { PREFILL } else { ENCODE_BESIDE };
        if let Some((number, encoding)) = self.encodings.iter().enumerate().find(|(_, e)| !e.over) {
            let end = encoding.tokens.len().min(encoding.at + most);
            let tokens = encoding.tokens.get(encoding.at..end).unwrap_or(&[]);
            owners.push((Owner::Encoding(number), tokens.to_vec()));
            chunks.push(Chunk { sequence: encoding.sequence, tokens });
        }
        if chunks.is_empty() {
            return;
        }
        let start = Instant::now();
        let hidden = forward(self.backbone.as_mut(), &chunks);
        let positions = owners.iter().map(|(_, tokens)| tokens.len() as u64).sum::<u64>();
        let whole = start.elapsed().as_micros() as u64;
        self.steps += 1;
        self.batched += chunks.len() as u64;
        for ((owner, tokens), hidden) in owners.into_iter().zip(hidden) {
            // Its share of the step.
            let micros = whole * tokens.len() as u64 / positions.max(1);
            match owner {
                Owner::Answer(number) => self.advance_answer(number, &tokens, hidden, micros),
                Owner::Encoding(number) => self.advance_encoding(number, tokens.len(), hidden, micros),
            }
        }
        self.sweep();
    }

    fn advance_answer(
        &mut self,
        number: usize,
        tokens: &[u32],
        hidden: Result<Hidden, EngineError>,
        micros: u64,
    ) {
        let Some(answer) = self.answers.get_mut(number) else { return };
        let hidden = match hidden {
            Ok(hidden) => hidden,
            Err(error) => return answer.fail(fault::INTERNAL, error.to_string()),
        };
        if let Some(session) = self.sessions.touch(&answer.session, Instant::now()) {
            session.tokens.extend(tokens);
        }
        answer.position_us += micros;
        if !answer.generation.fed(tokens.len()) {
            return;
        }
        let start = Instant::now();
        let spec = self.backbone.spec();
        let taps_of_one = spec.layout.layer_taps * spec.hidden;
        let last =
            |all: &[f32], width: usize| all.get(all.len().saturating_sub(width)..).unwrap_or(&[]).to_vec();
        let (taps, mut z) = (last(&hidden.taps, taps_of_one), last(&hidden.z, spec.hidden));
        // Both ends compute on what the wire carries.
        round_trip_z(&mut z);
        let mut log_probs = match self.backbone.head(&z) {
            Ok(logits) => logits,
            Err(error) => return answer.fail(fault::INTERNAL, error.to_string()),
        };
        log_softmax(&mut log_probs);
        let index = answer.generation.index();
        let choice = answer.sampler.choose(&log_probs, index);
        let top = top(&log_probs, TOP);
        let (p, open) = self
            .sessions
            .get(&answer.session)
            .map_or((None, false), |s| s.gating.decide(&z, index, answer.generation.open_before()));
        answer.position_us += start.elapsed().as_micros() as u64;
        let cloud_us = answer.position_us as u32;
        answer.cloud_us += std::mem::take(&mut answer.position_us);
        self.counts.tokens_generated += 1;
        if open {
            self.counts.open_positions += 1;
            let mut state = Vec::new();
            spec.layout.encode(&taps, &z, &mut state);
            answer.generation.opened();
            let position = proto::OpenPosition { index, choice, p, state, top, cloud_us };
            answer.outlet.send(reply::Body::OpenPosition(position));
        } else {
            answer.outlet.send(reply::Body::Token(proto::Token { index, id: choice, p, top, cloud_us }));
            if let After::Over(reason) = answer.generation.closed(choice) {
                answer.over = Some(Ending::Done(reason));
            }
        }
    }

    fn advance_encoding(
        &mut self,
        number: usize,
        count: usize,
        hidden: Result<Hidden, EngineError>,
        micros: u64,
    ) {
        let Some(encoding) = self.encodings.get_mut(number) else { return };
        let hidden = match hidden {
            Ok(hidden) => hidden,
            Err(error) => {
                encoding.outlet.fault(fault::INTERNAL, error.to_string());
                encoding.over = true;
                return;
            }
        };
        let spec = self.backbone.spec();
        let skipped = encoding.from.saturating_sub(encoding.at).min(count);
        let first = encoding.at + skipped;
        encoding.at += count;
        encoding.cloud_us += micros;
        self.counts.tokens_encoded += count as u64;
        let taps = hidden.taps.chunks_exact(spec.layout.layer_taps * spec.hidden);
        let mut states = Vec::with_capacity((count - skipped) * spec.layout.bytes());
        for (taps, z) in taps.zip(hidden.z.chunks_exact(spec.hidden)).skip(skipped) {
            spec.layout.encode(taps, z, &mut states);
        }
        if count > skipped {
            let count = (count - skipped) as u32;
            encoding.outlet.send(reply::Body::EncodeChunk(proto::EncodeChunk {
                first: first as u32,
                count,
                states,
            }));
        }
        if encoding.at >= encoding.tokens.len() {
            encoding.over = true;
            encoding.outlet.send(reply::Body::EncodeDone(proto::EncodeDone { cloud_us: encoding.cloud_us }));
        }
    }
}

/// The batch in one step; where that fails, one by one, so that an error ends only what it concerns.
fn forward(backbone: &mut dyn Backbone, chunks: &[Chunk<'_>]) -> Vec<Result<Hidden, EngineError>> {
    match backbone.forward(chunks) {
        Ok(all) => all.into_iter().map(Ok).collect(),
        Err(error) if chunks.len() == 1 => vec![Err(error)],
        Err(_) => chunks
            .iter()
            .map(|chunk| {
                let mut one = backbone.forward(std::slice::from_ref(chunk))?;
                one.pop().ok_or_else(|| EngineError::Batch("an engine gave nothing back".into()))
            })
            .collect(),
    }
}
