//! The state machine of one answer under the blocking protocol (method, section 6): what comes from the cloud, the
//! device and the person goes in, what is to be done comes out. No clock, no IO.
//!
//! Responsible for: the order of positions, what was said, resuming after a lost link, and how an answer ends.
//! Not responsible for: how a token is chosen, how long to wait for the link, or where things are stored.

use super::Account;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A closed position: chosen by the cloud.
    Token {
        /// Position in the answer.
        index: u32,
        /// Token id.
        id: u32,
        /// Gate probability.
        p: Option<f32>,
        /// Compute time of the cloud.
        cloud_us: u64,
    },
    /// An open position: its state came, the device is to choose.
    Open {
        /// Position in the answer.
        index: u32,
        /// What the cloud would have chosen.
        choice: u32,
        /// Gate probability, where the cloud ran the gate.
        p: Option<f32>,
        /// Taps and z as the codec writes them.
        state: Vec<u8>,
        /// Compute time of the cloud.
        cloud_us: u64,
    },
    /// The device chose at the open position.
    Chosen {
        /// Token id.
        id: u32,
        /// Chosen by the side path; else the device's gate kept the position closed.
        side: bool,
        /// Gate probability, where the device ran the gate.
        p: Option<f32>,
    },
    /// The cloud ended the answer; `cloud_us` is the compute time of the whole exchange.
    Done {
        /// Why.
        ended: Ended,
        /// Compute time of the exchange, prefill included.
        cloud_us: u64,
    },
    /// The connection broke.
    Lost,
    /// There is a connection again, with a session.
    Back,
    /// The person stopped it.
    Cancel,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The model said so.
    Stop,
    /// As many tokens as wanted.
    Length,
    /// The person stopped it.
    Cancelled,
    /// The backbone's context is full.
    Context,
}

impl Ended {
    /// The word on the wire and in the vault.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
            Self::Context => "context",
        }
    }
}

/// A token of the answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spoken {
    /// Position in the answer.
    pub index: u32,
    /// Token id.
    pub id: u32,
    /// Chosen by the side path.
    pub side: bool,
    /// Differs from what base would have said.
    pub changed: bool,
    /// Gate probability, where a gate ran.
    pub p: Option<f32>,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Open the session and ask for the rest of the answer.
    Generate {
        /// Tokens chosen so far.
        generated: Vec<u32>,
    },
    /// Choose at this open position, then give [`Input::Chosen`].
    Choose {
        /// Position in the answer.
        index: u32,
        /// What the cloud would have chosen.
        choice: u32,
        /// Gate probability, where the cloud ran the gate.
        p: Option<f32>,
        /// Taps and z.
        state: Vec<u8>,
    },
    /// Tell the cloud the device's choice.
    Send {
        /// Position in the answer.
        index: u32,
        /// Token id.
        id: u32,
    },
    /// A token is chosen for good: show it and keep it.
    Speak(Spoken),
    /// Show that the cloud is away, and wait for it; then give [`Input::Back`].
    Wait,
    /// Show that the cloud is back.
    Resumed,
    /// End the exchange early.
    Abort,
    /// The answer is over.
    Finish(Ended),
    /// What came breaks the protocol: the answer cannot go on over this exchange.
    Broken(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// The cloud computes.
    Waiting,
    /// The device chooses at this position, beside the cloud's own choice.
    Choosing { choice: u32, p: Option<f32> },
    /// No connection.
    Away,
    /// Over.
    Over,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    state: State,
    generated: Vec<u32>,
    account: Account,
    /// Cloud time of the exchange that runs, by positions; its `Done` replaces the sum.
    exchange_us: u64,
}

impl Answer {
    /// Nothing said yet; the first effect.
    #[must_use]
    pub fn start() -> (Self, Vec<Effect>) {
        let answer = Self {
            state: State::Waiting,
            generated: Vec::new(),
            account: Account::default(),
            exchange_us: 0,
        };
        (answer, vec![Effect::Generate { generated: Vec::new() }])
    }

    /// Tokens chosen so far.
    #[must_use]
    pub fn generated(&self) -> &[u32] {
        &self.generated
    }

    /// What it took so far.
    pub fn account(&mut self) -> &mut Account {
        &mut self.account
    }

    /// Whether it is over.
    #[must_use]
    pub fn over(&self) -> bool {
        self.state == State::Over
    }

    /// One thing that happened; what is to be done about it, in order.
    pub fn handle(&mut self, input: Input) -> Vec<Effect> {
        match (self.state, input) {
            (State::Over, _) => Vec::new(),
            (_, Input::Cancel) => self.cancel(),
            (State::Waiting, Input::Token { index, id, p, cloud_us }) => {
                self.spend(cloud_us);
                if index != self.next() {
                    return self.broken("a token out of order");
                }
                vec![self.speak(id, false, false, p)]
            }
            (State::Waiting, Input::Open { index, choice, p, state, cloud_us }) => {
                self.spend(cloud_us);
                if index != self.next() {
                    return self.broken("an open position out of order");
                }
                self.account.transmissions += 1;
                self.state = State::Choosing { choice, p };
                vec![Effect::Choose { index, choice, p, state }]
            }
            (State::Choosing { choice, p: theirs }, Input::Chosen { id, side, p }) => {
                self.state = State::Waiting;
                let index = self.next();
                let spoken = self.speak(id, side, side && id != choice, p.or(theirs));
                vec![spoken, Effect::Send { index, id }]
            }
            (State::Waiting, Input::Done { ended, cloud_us }) => {
                // The whole of the exchange, prefill included, is at least what its positions reported.
                self.account.cloud_us += cloud_us.saturating_sub(self.exchange_us);
                self.state = State::Over;
                vec![Effect::Finish(ended)]
            }
            (State::Waiting | State::Choosing { .. }, Input::Lost) => {
                self.exchange_us = 0;
                self.state = State::Away;
                vec![Effect::Wait]
            }
            (State::Away, Input::Back) => {
                self.state = State::Waiting;
                vec![Effect::Resumed, Effect::Generate { generated: self.generated.clone() }]
            }
            // The choice for a connection that broke meanwhile: the position comes again.
            (State::Away, Input::Chosen { .. } | Input::Lost) => Vec::new(),
            (State::Choosing { .. }, _) => self.broken("the cloud did not wait for the choice"),
            (State::Waiting, Input::Chosen { .. } | Input::Back) | (State::Away, _) => {
                self.broken("an event without its cause")
            }
        }
    }

    fn next(&self) -> u32 {
        u32::try_from(self.generated.len()).unwrap_or(u32::MAX)
    }

    fn spend(&mut self, cloud_us: u64) {
        self.account.cloud_us += cloud_us;
        self.exchange_us += cloud_us;
    }

    fn speak(&mut self, id: u32, side: bool, changed: bool, p: Option<f32>) -> Effect {
        let index = self.next();
        self.generated.push(id);
        self.account.tokens += 1;
        self.account.side += u64::from(side);
        self.account.changed += u64::from(changed);
        Effect::Speak(Spoken { index, id, side, changed, p })
    }

    fn cancel(&mut self) -> Vec<Effect> {
        let connected = self.state != State::Away;
        self.state = State::Over;
        let abort = connected.then_some(Effect::Abort);
        abort.into_iter().chain([Effect::Finish(Ended::Cancelled)]).collect()
    }

    fn broken(&mut self, why: &'static str) -> Vec<Effect> {
        self.state = State::Over;
        vec![Effect::Abort, Effect::Broken(why)]
    }
}
