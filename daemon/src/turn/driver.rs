//! Drives one answer: does what the state machine says over the link, on the device, towards the front end and into
//! the vault.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aside_cloud_api::fault as cloud_fault;
use aside_cloud_api::link::LinkError;
use aside_cloud_api::link::client::{Exchange, Link};
use aside_cloud_api::proto::{Choose, DoneReason, Generate, reply, request};
use aside_cloud_api::sampling::Sampler;
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{AskEvent, AskNotice, AskToken, Source, ask_event};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::account::micros;
use super::{Account, Answer, Chooser, Effect, Ended, Input, Keeper, Mode, Plan, Spoken};
use crate::cloud::{Held, Sessions, link_fault};
use crate::kit::{Detokenizer, Kit};
use crate::vault::TokenMark;

/// Where the events of an answer go.
pub type Sink = mpsc::Sender<Result<AskEvent, tonic::Status>>;

/// A session may vanish between two exchanges this often before it is an error.
const SESSION_TRIES: u32 = 4;

/// What an answer needs.
pub struct Turn<'a> {
    /// How positions are decided.
    pub plan: &'a Plan,
    /// Tokenizer and stop ids.
    pub kit: &'a Kit,
    /// The connection.
    pub link: &'a Link,
    /// Sessions of that connection, and what this answer's is for.
    pub sessions: (&'a Sessions, crate::cloud::Key),
    /// Chooses at open positions.
    pub chooser: Option<Arc<Chooser>>,
    /// Names the answer across connections.
    pub request: [u8; 16],
    /// The rendered conversation.
    pub prompt: Vec<u32>,
    /// Noise and limits.
    pub sampler: Sampler,
    /// Bound of the answer in tokens.
    pub max_tokens: u32,
    /// How long the cloud may be away.
    pub patience: Duration,
    /// Ends it early.
    pub stop: CancellationToken,
}

/// What came of it; whatever was said is there, also when it failed.
#[derive(Debug)]
pub struct Outcome {
    /// The text.
    pub text: String,
    /// Provenance by token.
    pub marks: Vec<TokenMark>,
    /// What it took.
    pub account: Account,
    /// One codec state per token, where the cloud shipped every one of them.
    pub shipped: Option<Vec<u8>>,
    /// How it ended.
    pub ended: Result<Ended, Fault>,
}

/// Runs the answer to its end.
pub async fn drive(turn: &Turn<'_>, sink: &Sink, keeper: Option<Keeper>) -> Outcome {
    let (answer, effects) = Answer::start();
    let driver = Driver {
        turn,
        sink,
        keeper,
        answer,
        exchange: None,
        held: None,
        detokenizer: turn.kit.detokenizer(),
        text: String::new(),
        marks: Vec::new(),
        shipped: BTreeMap::new(),
        tries: 0,
        waited: Duration::ZERO,
        away: false,
    };
    driver.run(effects).await
}

struct Driver<'a> {
    turn: &'a Turn<'a>,
    sink: &'a Sink,
    keeper: Option<Keeper>,
    answer: Answer,
    exchange: Option<Exchange>,
    held: Option<Held<'a>>,
    detokenizer: Detokenizer<'a>,
    text: String,
    marks: Vec<TokenMark>,
    /// States by position; kept only where all of them come.
    shipped: BTreeMap<u32, Vec<u8>>,
    /// Sessions lost since the last token.
    tries: u32,
    /// Time the cloud was away in a row.
    waited: Duration,
    away: bool,
}

/// What an effect led to.
enum Step {
    Nothing,
    Input(Input),
    Ended(Ended),
}

impl Driver<'_> {
    async fn run(mut self, mut effects: Vec<Effect>) -> Outcome {
        let started = Instant::now();
        let ended = loop {
            match self.perform_all(effects).await {
                Err(fault) => break Err(fault),
                Ok(Step::Ended(ended)) => break Ok(ended),
                Ok(Step::Input(input)) => effects = self.answer.handle(input),
                Ok(Step::Nothing) => match self.next().await {
                    Ok(input) => effects = self.answer.handle(input),
                    Err(fault) => break Err(fault),
                },
            }
        };
        self.close_exchange();
        if let Some(keeper) = self.keeper.take() {
            keeper.settle().await;
        }
        self.answer.account().wall_us = micros(started.elapsed());
        let account = *self.answer.account();
        let whole = self.shipped.len() == self.marks.len() && matches!(ended, Ok(Ended::Stop));
        let shipped = whole.then(|| self.shipped.into_values().flatten().collect());
        Outcome { text: self.text, marks: self.marks, account, shipped, ended }
    }

    /// In order; the input that one of them led to, if any, comes last.
    async fn perform_all(&mut self, effects: Vec<Effect>) -> Result<Step, Fault> {
        let mut last = Step::Nothing;
        for effect in effects {
            match self.perform(effect).await? {
                Step::Nothing => {}
                step => last = step,
            }
        }
        Ok(last)
    }

    async fn perform(&mut self, effect: Effect) -> Result<Step, Fault> {
        match effect {
            Effect::Generate { generated } => return self.generate(generated).await,
            Effect::Choose { index, choice, state, .. } => {
                return self.choose(index, choice, state).await.map(Step::Input);
            }
            Effect::Send { index, id } => {
                let body = request::Body::Choose(Choose { index, id });
                if let Some(exchange) = &mut self.exchange
                    && exchange.send(body).is_err()
                {
                    return Ok(Step::Input(Input::Lost));
                }
            }
            Effect::Speak(spoken) => self.speak(spoken).await,
            Effect::Wait => return self.wait().await.map(Step::Input),
            Effect::Resumed => {
                if std::mem::take(&mut self.away) {
                    self.notice("cloud-back", "The cloud is back; the answer goes on.").await;
                }
            }
            Effect::Abort => self.close_exchange(),
            Effect::Finish(ended) => return Ok(Step::Ended(ended)),
            Effect::Broken(why) => {
                return Err(Fault::internal(format!("the cloud broke the protocol: {why}")));
            }
        }
        Ok(Step::Nothing)
    }

    async fn generate(&mut self, generated: Vec<u32>) -> Result<Step, Fault> {
        self.close_exchange();
        let (sessions, key) = self.turn.sessions;
        let stop = self.turn.stop.clone();
        let held = match &self.held {
            Some(held) => held.session(),
            None => {
                let opened = tokio::select! {
                    opened = Held::open(sessions, key, self.turn.link, self.turn.plan) => opened,
                    () = stop.cancelled() => return Ok(Step::Input(Input::Cancel)),
                };
                match opened {
                    Ok(held) => self.held.insert(held).session(),
                    Err(error) => return self.failed(error).map(Step::Input),
                }
            }
        };
        let opened = self.opened();
        let body = request::Body::Generate(Generate {
            session: held,
            request: self.turn.request.to_vec(),
            prompt: self.turn.prompt.clone(),
            generated,
            sampling: Some((&self.turn.sampler).into()),
            max_tokens: self.turn.max_tokens,
            stop: self.turn.kit.stop().to_vec(),
            opened,
        });
        match self.turn.link.open(body).await {
            Ok(exchange) => {
                self.exchange = Some(exchange);
                Ok(Step::Nothing)
            }
            Err(error) => self.failed(error).map(Step::Input),
        }
    }

    /// The next thing that happens.
    async fn next(&mut self) -> Result<Input, Fault> {
        let Some(exchange) = &mut self.exchange else { return Ok(Input::Lost) };
        let came = tokio::select! {
            biased;
            () = self.turn.stop.cancelled() => return Ok(Input::Cancel),
            // The front end hung up.
            () = self.sink.closed() => return Ok(Input::Cancel),
            came = exchange.next() => came,
        };
        match came {
            Ok(reply::Body::Token(t)) => {
                Ok(Input::Token { index: t.index, id: t.id, p: t.p, cloud_us: u64::from(t.cloud_us) })
            }
            Ok(reply::Body::OpenPosition(o)) => Ok(Input::Open {
                index: o.index,
                choice: o.choice,
                p: o.p,
                state: o.state,
                cloud_us: u64::from(o.cloud_us),
            }),
            Ok(reply::Body::Done(done)) => {
                Ok(Input::Done { ended: ended(done.reason()), cloud_us: done.cloud_us })
            }
            Ok(_) => Err(Fault::internal("the cloud broke the protocol: an answer of another kind")),
            Err(error) => self.failed(error),
        }
    }

    /// A lost connection or session is an event; anything else ends the answer.
    fn failed(&mut self, error: LinkError) -> Result<Input, Fault> {
        self.close_exchange();
        let (sessions, _) = self.turn.sessions;
        match error {
            // The session may have survived; if not, the cloud says so.
            LinkError::Lost | LinkError::Away(_) | LinkError::Io(_) => Ok(Input::Lost),
            // The session is gone, or still busy with an answer that a broken connection left: another one.
            LinkError::Fault { code, .. } if retried(&code) && self.tries < SESSION_TRIES => {
                self.tries += 1;
                if let Some(held) = self.held.take() {
                    sessions.forget(held.session());
                }
                Ok(Input::Lost)
            }
            other => Err(link_fault(&other)),
        }
    }

    /// Waits for the link; says so only when it is really away.
    async fn wait(&mut self) -> Result<Input, Fault> {
        let asked = Instant::now();
        if self.tries > 1 {
            tokio::time::sleep(Duration::from_millis(100) * self.tries).await;
        }
        let patience = self.turn.patience.saturating_sub(self.waited);
        let told = tokio::time::sleep(Duration::from_millis(if self.away { 86_400_000 } else { 150 }));
        tokio::pin!(told);
        let ready = tokio::time::timeout(patience, self.turn.link.ready());
        tokio::pin!(ready);
        let ready = loop {
            tokio::select! {
                ready = &mut ready => break ready,
                () = self.turn.stop.cancelled() => return Ok(Input::Cancel),
                () = self.sink.closed() => return Ok(Input::Cancel),
                () = &mut told, if !self.away => {
                    self.away = true;
                    let _ = self.sink.send(Ok(notice("cloud-away", "The cloud is away; waiting for it."))).await;
                }
            }
        };
        self.waited += asked.elapsed();
        match ready {
            Ok(Ok(model)) if model.kit == self.turn.kit.sha256() => Ok(Input::Back),
            Ok(Ok(_)) => Err(Fault::new(codes::CLOUD_AWAY, "the cloud came back with another model")),
            Ok(Err(error @ (LinkError::Refused(_) | LinkError::Closed))) => Err(link_fault(&error)),
            // It went again at once: the deadline bounds how often.
            Ok(Err(_)) if self.waited < self.turn.patience => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.waited += Duration::from_millis(50);
                Ok(Input::Back)
            }
            Ok(Err(_)) | Err(_) => Err(away(self.turn.patience)),
        }
    }

    /// Positions that were open so far.
    fn opened(&mut self) -> u32 {
        u32::try_from(self.answer.account().side).unwrap_or(u32::MAX)
    }

    async fn choose(&mut self, index: u32, choice: u32, state: Vec<u8>) -> Result<Input, Fault> {
        let Some(chooser) = self.turn.chooser.clone() else {
            return Err(Fault::internal("the cloud opened a position of a closed session"));
        };
        let opened = self.opened();
        let computed = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            (chooser.choose(index, opened, choice, &state), started.elapsed(), state)
        });
        let (chosen, spent, state) =
            computed.await.map_err(|_| Fault::internal("the side network ended unexpectedly"))?;
        self.answer.account().device(spent);
        if self.turn.plan.mode == Mode::Open {
            self.shipped.insert(index, state);
        }
        let chosen = chosen.map_err(|error| Fault::internal(error.to_string()))?;
        Ok(Input::Chosen { id: chosen.id, side: chosen.side, p: chosen.p })
    }

    async fn speak(&mut self, spoken: Spoken) {
        self.tries = 0;
        self.waited = Duration::ZERO;
        // What ends an answer is a token like any other, only without text.
        let text =
            if self.turn.kit.is_stop(spoken.id) { String::new() } else { self.detokenizer.push(spoken.id) };
        let start = offset(&self.text);
        self.text.push_str(&text);
        let Spoken { index, id, side, changed, p } = spoken;
        self.marks.push(TokenMark { start, end: offset(&self.text), id, side, changed, p });
        let source = if side { Source::Side } else { Source::Base };
        let token = AskToken { index, id, text, source: source.into(), changed, p };
        self.emit(ask_event::Event::Token(token)).await;
        if let Some(keeper) = &mut self.keeper {
            keeper.keep(&self.text, &self.marks);
        }
    }

    async fn notice(&self, code: &str, message: &str) {
        let _ = self.sink.send(Ok(notice(code, message))).await;
    }

    async fn emit(&self, event: ask_event::Event) {
        // A front end that is gone is noticed before the next token.
        let _ = self.sink.send(Ok(AskEvent { event: Some(event) })).await;
    }

    fn close_exchange(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            let account = self.answer.account();
            account.bytes_up += exchange.bytes_up();
            account.bytes_down += exchange.bytes_down();
        }
    }
}

fn retried(code: &str) -> bool {
    code == cloud_fault::NO_SESSION || code == cloud_fault::BUSY
}

fn offset(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

fn notice(code: &str, message: &str) -> AskEvent {
    let notice = AskNotice { code: code.to_owned(), message: message.to_owned() };
    AskEvent { event: Some(ask_event::Event::Notice(notice)) }
}

fn away(patience: Duration) -> Fault {
    let message = format!("the cloud has been away for {} s; what was said is kept", patience.as_secs());
    Fault::new(codes::CLOUD_AWAY, message).repair("aside doctor")
}

fn ended(reason: DoneReason) -> Ended {
    match reason {
        DoneReason::Stop => Ended::Stop,
        DoneReason::Length => Ended::Length,
        DoneReason::Cancelled => Ended::Cancelled,
        DoneReason::ContextFull => Ended::Context,
    }
}
