//! What becomes of an order: checks, limits, and the start and end of work.

use super::engine_thread::{Engine, Order, busy, done};
use super::gate::Gating;
use super::generation::{After, Bounds, Generation};
use super::work::{Answer, Encoding, Ending, Outlet};
use aside_cloud_api::fault;
use aside_cloud_api::link::server::Peer;
use aside_cloud_api::proto::{self, DoneReason, reply};
use aside_cloud_api::sampling::Sampler;
use std::time::Instant;

/// Answers and encodings of one client.
const IN_FLIGHT: usize = 8;

impl Engine {
    pub(super) fn take(&mut self, order: Order) {
        let now = Instant::now();
        self.expire(now);
        match order {
            Order::Tick => {}
            Order::OpenSession(outlet, open) => self.open_session(&outlet, open, now),
            Order::CloseSession(outlet, number) => {
                let name = (outlet.peer.client().to_owned(), number);
                self.end_answers(Ending::Done(DoneReason::Cancelled), |a| a.session == name);
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
                self.encodings.iter_mut().filter(|e| e.outlet.peer == peer).for_each(|e| e.over = true);
                self.end_answers(Ending::Done(DoneReason::Cancelled), |a| a.outlet.peer == peer);
            }
        }
    }

    /// Idle sessions go, but for those that an answer needs.
    fn expire(&mut self, now: Instant) {
        let busy = busy(&self.answers);
        self.sessions.expire(self.backbone.as_mut(), now, &busy);
    }

    fn open_session(&mut self, outlet: &Outlet, open: proto::OpenSession, now: Instant) {
        let name = (outlet.peer.client().to_owned(), open.session);
        let busy = busy(&self.answers);
        match Gating::new(open.mode, open.gate, self.backbone.spec().hidden) {
            Err(why) => outlet.fault(fault::BAD_REQUEST, why),
            Ok(gating) => match self.sessions.open(self.backbone.as_mut(), name, gating, now, &busy) {
                Ok(true) => outlet.send(reply::Body::SessionOpened(proto::SessionOpened {})),
                Ok(false) => outlet.fault(fault::BUSY, "answers run in all sessions of this client"),
                Err(error) => outlet.fault(fault::INTERNAL, error.to_string()),
            },
        }
    }

    fn end_answers(&mut self, ending: Ending, which: impl Fn(&Answer) -> bool) {
        for answer in self.answers.iter_mut().filter(|a| which(a)) {
            answer.over = Some(ending);
        }
        self.sweep();
    }

    fn in_flight(&self, peer: &Peer) -> usize {
        let of = |outlet: &Outlet| outlet.peer.client() == peer.client();
        self.answers.iter().filter(|a| of(&a.outlet)).count()
            + self.encodings.iter().filter(|e| of(&e.outlet)).count()
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
        let sampler = Sampler::from(&generate.sampling.unwrap_or_default());
        if !sampler.temperature.is_finite() || !sampler.top_p.is_finite() {
            return Err((fault::BAD_REQUEST, "temperature and top-p are numbers".into()));
        }
        self.end_answers(Ending::Done(DoneReason::Cancelled), |a| {
            a.session.0 == name.0 && a.request == generate.request
        });
        if self.answers.iter().any(|a| a.session == name) {
            return Err((fault::BUSY, "another answer runs in this session".into()));
        }
        if self.in_flight(&outlet.peer) >= IN_FLIGHT {
            return Err((fault::BUSY, format!("{IN_FLIGHT} requests of this client run already")));
        }
        let context = self.backbone.spec().context;
        let session = self.sessions.touch(&name, now);
        let session = session.ok_or((fault::NO_SESSION, "the session is not open here".to_owned()))?;
        let cached =
            session.reuse(self.backbone.as_mut(), &tokens).map_err(|e| (fault::INTERNAL, e.to_string()))?;
        let pending: Vec<u32> = tokens.iter().skip(cached).copied().collect();
        let prefill = pending.len() as u32;
        let bounds = Bounds { max_tokens: generate.max_tokens, stop: generate.stop, context };
        match Generation::start(bounds, pending, tokens.len(), index, last, generate.opened) {
            Err(reason) => outlet.send(done(reason, 0, 0, cached as u32)),
            Ok(generation) => self.answers.push(Answer {
                outlet: outlet.clone(),
                session: name,
                request: generate.request,
                sampler,
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
        // A choice may cross the end of its answer on the way.
        let Some(answer) = self.answers.iter_mut().find(|a| a.outlet.is(peer, id)) else { return };
        let after = if choose.id as usize >= vocab {
            Err("a chosen token is beyond the vocabulary")
        } else {
            answer.generation.choose(choose.index, choose.id).ok_or("no open position of that index waits")
        };
        match after {
            Ok(After::Continue) => return,
            Ok(After::Over(reason)) => answer.over = Some(Ending::Done(reason)),
            Err(why) => answer.fail(fault::BAD_REQUEST, why),
        }
        self.sweep();
    }

    fn cancel(&mut self, peer: &Peer, id: u64) {
        self.encodings.iter_mut().filter(|e| e.outlet.is(peer, id)).for_each(|e| e.over = true);
        self.end_answers(Ending::Done(DoneReason::Cancelled), |a| a.outlet.is(peer, id));
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
            ..self.counts
        }
    }
}
