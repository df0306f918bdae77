//! The engine's thread: takes orders, batches what is ready into one ragged step, and sends what comes out.

use super::gate::Gating;
use super::generation::{After, Bounds, Generation};
use super::session::Sessions;
use super::work::{Answer, Encoding, Outlet};
use crate::engine::{Backbone, Chunk, EngineError, Hidden};
use aside_cloud_api::codec::round_trip_z;
use aside_cloud_api::link::server::Peer;
use aside_cloud_api::proto::{self, DoneReason, reply};
use aside_cloud_api::sampling::{Sampler, log_softmax, top};
use aside_cloud_api::fault;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

/// Positions of a prompt fed at once, so that nobody waits long for somebody else's prompt.
const PREFILL: usize = 64;
/// The same of an encoding while answers run.
const ENCODE_BESIDE: usize = 16;
/// Answers and encodings of one client.
const IN_FLIGHT: usize = 8;
/// Candidates of base that travel with a position.
const TOP: usize = 5;

/// What the async side asks.
pub(super) enum Order {
    OpenSession(Outlet, proto::OpenSession),
    CloseSession(Outlet, u64),
    Generate(Outlet, proto::Generate),
    Choose(Peer, u64, proto::Choose),
    Cancel(Peer, u64),
    Encode(Outlet, proto::Encode),
    Stats(Outlet),
    Gone(Peer),
}

/// Everything the thread owns.
struct Engine {
    backbone: Box<dyn Backbone>,
    sessions: Sessions,
    answers: Vec<Answer>,
    encodings: Vec<Encoding>,
    started: Instant,
    counts: proto::Stats,
    steps: u64,
    batched: u64,
}

/// Runs until every sender of orders is gone.
pub(super) fn run(backbone: Box<dyn Backbone>, orders: &Receiver<Order>) {
    let mut engine = Engine {
        backbone,
        sessions: Sessions::default(),
        answers: Vec::new(),
        encodings: Vec::new(),
        started: Instant::now(),
        counts: proto::Stats::default(),
        steps: 0,
        batched: 0,
    };
    loop {
        if !engine.ready() {
            match orders.recv() {
                Ok(order) => engine.take(order),
                Err(_) => return,
            }
        }
        loop {
            match orders.try_recv() {
                Ok(order) => engine.take(order),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        engine.step();
    }
}

/// What an entry of the batch belongs to.
#[derive(Clone, Copy)]
enum Owner {
    Answer(usize),
    Encoding(usize),
}

impl Engine {
    fn ready(&self) -> bool {
        !self.encodings.is_empty() || self.answers.iter().any(|a| !a.generation.feed(1).is_empty())
    }

    fn take(&mut self, order: Order) {
        let now = Instant::now();
        self.sessions.expire(self.backbone.as_mut(), now);
        match order {
            Order::OpenSession(outlet, open) => self.open_session(&outlet, open, now),
            Order::CloseSession(outlet, number) => {
                let name = (outlet.peer.client().to_owned(), number);
                self.answers.retain(|a| a.session != name);
                self.sessions.close(self.backbone.as_mut(), &name);
                outlet.send(reply::Body::SessionClosed(proto::SessionClosed {}));
            }
            Order::Generate(outlet, generate) => {
                if let Err((code, message)) = self.generate(&outlet, generate, now) {
                    outlet.fault(code, message);
                }
            }
            Order::Choose(peer, id, choose) => self.choose(&peer, id, choose),
            Order::Cancel(peer, id) => self.cancel(&peer, id),
            Order::Encode(outlet, encode) => {
                if let Err((code, message)) = self.encode(&outlet, encode) {
                    outlet.fault(code, message);
                }
            }
            Order::Stats(outlet) => outlet.send(reply::Body::Stats(self.stats())),
            Order::Gone(peer) => {
                self.answers.retain(|a| a.outlet.peer != peer);
                self.encodings.iter_mut().filter(|e| e.outlet.peer == peer).for_each(|e| e.over = true);
                self.sweep();
            }
        }
    }

    fn open_session(&mut self, outlet: &Outlet, open: proto::OpenSession, now: Instant) {
        let name = (outlet.peer.client().to_owned(), open.session);
        let hidden = self.backbone.spec().hidden;
        match Gating::new(open.mode, open.gate, hidden) {
            Err(why) => outlet.fault(fault::BAD_REQUEST, why),
            Ok(gating) => match self.sessions.open(self.backbone.as_mut(), name, gating, now) {
                Ok(()) => outlet.send(reply::Body::SessionOpened(proto::SessionOpened {})),
                Err(error) => outlet.fault(fault::INTERNAL, error.to_string()),
            },
        }
    }

    fn in_flight(&self, peer: &Peer) -> usize {
        let of = |outlet: &Outlet| outlet.peer.client() == peer.client();
        self.answers.iter().filter(|a| of(&a.outlet)).count() + self.encodings.iter().filter(|e| of(&e.outlet)).count()
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<(), (&'static str, String)> {
        let spec = self.backbone.spec();
        if tokens.is_empty() {
            return Err((fault::BAD_REQUEST, "no token came".into()));
        }
        if tokens.iter().any(|t| *t as usize >= spec.vocab) {
            return Err((fault::BAD_REQUEST, format!("a token is beyond the vocabulary of {}", spec.vocab)));
        }
        if tokens.len() > spec.context {
            let message = format!("{} tokens do not fit the context of {}", tokens.len(), spec.context);
            return Err((fault::CONTEXT_FULL, message));
        }
        Ok(())
    }

    fn generate(
        &mut self,
        outlet: &Outlet,
        generate: proto::Generate,
        now: Instant,
    ) -> Result<(), (&'static str, String)> {
        let name = (outlet.peer.client().to_owned(), generate.session);
        let mut tokens = generate.prompt;
        let (index, last) = (generate.generated.len() as u32, generate.generated.last().copied());
        self.check_tokens(&tokens)?;
        tokens.extend(&generate.generated);
        self.check_tokens(&tokens)?;
        self.answers.retain(|a| a.session.0 != name.0 || a.request != generate.request);
        if self.answers.iter().any(|a| a.session == name) {
            return Err((fault::BUSY, "another answer runs in this session".into()));
        }
        if self.in_flight(&outlet.peer) >= IN_FLIGHT {
            return Err((fault::BUSY, format!("{IN_FLIGHT} requests of this client run already")));
        }
        let context = self.backbone.spec().context;
        let session = self.sessions.touch(&name, now);
        let session = session.ok_or((fault::NO_SESSION, "the session is not open here".to_owned()))?;
        let cached = session
            .reuse(self.backbone.as_mut(), &tokens)
            .map_err(|e| (fault::INTERNAL, e.to_string()))?;
        let pending: Vec<u32> = tokens.iter().skip(cached).copied().collect();
        let prefill = pending.len() as u32;
        let bounds = Bounds { max_tokens: generate.max_tokens, stop: generate.stop, context };
        match Generation::start(bounds, pending, tokens.len(), index, last) {
            Err(reason) => outlet.send(done(reason, 0, 0, cached as u32)),
            Ok(generation) => self.answers.push(Answer {
                outlet: outlet.clone(),
                session: name,
                request: generate.request,
                sampler: Sampler::from(&generate.sampling.unwrap_or_default()),
                generation,
                cloud_us: 0,
                position_us: 0,
                prefill,
                cached: cached as u32,
                over: None,
            }),
        }
        Ok(())
    }

    fn choose(&mut self, peer: &Peer, id: u64, choose: proto::Choose) {
        let vocab = self.backbone.spec().vocab;
        let Some(answer) = self.answers.iter_mut().find(|a| a.outlet.is(peer, id)) else { return };
        if choose.id as usize >= vocab {
            answer.outlet.fault(fault::BAD_REQUEST, "a chosen token is beyond the vocabulary");
            self.answers.retain(|a| !a.outlet.is(peer, id));
            return;
        }
        match answer.generation.choose(choose.index, choose.id) {
            None => {
                answer.outlet.fault(fault::BAD_REQUEST, "no open position of that index waits");
                self.answers.retain(|a| !a.outlet.is(peer, id));
            }
            Some(After::Continue) => {}
            Some(After::Over(reason)) => {
                answer.over = Some(reason);
                self.sweep();
            }
        }
    }

    fn cancel(&mut self, peer: &Peer, id: u64) {
        for answer in self.answers.iter_mut().filter(|a| a.outlet.is(peer, id)) {
            answer.over = Some(DoneReason::Cancelled);
        }
        self.encodings.iter_mut().filter(|e| e.outlet.is(peer, id)).for_each(|e| e.over = true);
        self.sweep();
    }

    fn encode(&mut self, outlet: &Outlet, encode: proto::Encode) -> Result<(), (&'static str, String)> {
        self.check_tokens(&encode.tokens)?;
        if encode.from as usize >= encode.tokens.len() {
            return Err((fault::BAD_REQUEST, "no position is wanted".into()));
        }
        if self.in_flight(&outlet.peer) >= IN_FLIGHT {
            return Err((fault::BUSY, format!("{IN_FLIGHT} requests of this client run already")));
        }
        let sequence = self.backbone.begin().map_err(|e| (fault::INTERNAL, e.to_string()))?;
        self.encodings.push(Encoding {
            outlet: outlet.clone(),
            sequence,
            tokens: encode.tokens,
            at: 0,
            from: encode.from as usize,
            cloud_us: 0,
            over: false,
        });
        Ok(())
    }

    fn stats(&self) -> proto::Stats {
        proto::Stats {
            uptime_seconds: self.started.elapsed().as_secs(),
            sessions: self.sessions.count() as u64,
            mean_batch_milli: (1000 * self.batched).checked_div(self.steps).unwrap_or(0),
            ..self.counts.clone()
        }
    }

    /// One ragged batch: every answer that can go on, and one encoding.
    fn step(&mut self) {
        let mut owners = Vec::new();
        let mut chunks: Vec<Chunk<'_>> = Vec::new();
        for (number, answer) in self.answers.iter().enumerate() {
            let tokens = answer.generation.feed(PREFILL);
            let Some(session) = self.sessions.get(&answer.session).filter(|_| !tokens.is_empty()) else { continue };
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
        let micros = start.elapsed().as_micros() as u64 / chunks.len() as u64;
        self.steps += 1;
        self.batched += chunks.len() as u64;
        for ((owner, tokens), hidden) in owners.into_iter().zip(hidden) {
            match owner {
                Owner::Answer(number) => self.advance_answer(number, &tokens, hidden, micros),
                Owner::Encoding(number) => self.advance_encoding(number, tokens.len(), hidden, micros),
            }
        }
        self.sweep();
    }

    fn advance_answer(&mut self, number: usize, tokens: &[u32], hidden: Result<Hidden, EngineError>, micros: u64) {
        let Some(answer) = self.answers.get_mut(number) else { return };
        let hidden = match hidden {
            Ok(hidden) => hidden,
            Err(error) => return fail(answer, &error),
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
        let last = |all: &[f32], width: usize| all.get(all.len().saturating_sub(width)..).unwrap_or(&[]).to_vec();
        let (taps, mut z) = (last(&hidden.taps, taps_of_one), last(&hidden.z, spec.hidden));
        // Both ends compute on what the wire carries.
        round_trip_z(&mut z);
        let mut log_probs = match self.backbone.head(&z) {
            Ok(logits) => logits,
            Err(error) => return fail(answer, &error),
        };
        log_softmax(&mut log_probs);
        let index = answer.generation.index();
        let choice = answer.sampler.choose(&log_probs, index);
        let top = top(&log_probs, TOP);
        let (p, open) = self.sessions.get(&answer.session).map_or((None, false), |s| s.gating.decide(&z));
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
                answer.over = Some(reason);
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
            encoding.outlet.send(reply::Body::EncodeChunk(proto::EncodeChunk { first: first as u32, count, states }));
        }
        if encoding.at >= encoding.tokens.len() {
            encoding.over = true;
            encoding.outlet.send(reply::Body::EncodeDone(proto::EncodeDone { cloud_us: encoding.cloud_us }));
        }
    }

    /// Says Done for answers that are over and drops what is.
    fn sweep(&mut self) {
        self.answers.retain(|answer| match answer.over {
            Some(reason) => {
                answer.outlet.send(done(reason, answer.cloud_us, answer.prefill, answer.cached));
                false
            }
            None => true,
        });
        for encoding in self.encodings.iter().filter(|e| e.over) {
            self.backbone.end(encoding.sequence);
        }
        self.encodings.retain(|e| !e.over);
    }
}

/// A failed answer is over without a Done: its fault ends the exchange.
fn fail(answer: &mut Answer, error: &EngineError) {
    answer.outlet.fault(fault::INTERNAL, error.to_string());
    // Its outlet is told nothing more: the reader has left at the fault.
    answer.over = Some(DoneReason::Cancelled);
}

fn done(reason: DoneReason, cloud_us: u64, prefill_tokens: u32, cached_tokens: u32) -> reply::Body {
    reply::Body::Done(proto::Done { reason: reason as i32, cloud_us, prefill_tokens, cached_tokens })
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
