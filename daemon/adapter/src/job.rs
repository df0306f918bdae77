//! What a training is given: turns with their states, settings, a seed, and the adapter to go on from.

use crate::bytes::{Reader, Writer};
use crate::error::{AdapterError, Result};
use crate::side::Shape;
use crate::variant::Variant;
use aside_codec::States;

const TAG: [u8; 8] = *b"asidejb4";

/// What a turn may be used for; decided once, for ever (method, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Networks and gate are fitted on it.
    Train,
    /// It says when to stop.
    EarlyStop,
    /// It measures, and nothing else.
    HeldOut,
    /// Text of the backbone itself, nobody's lesson: networks and gate are fitted on it like on a lesson, which keeps them
    /// near base where there is nothing to gain, but no memory holds it. A token that base drew loses the divergence of base
    /// and fused on average, so that its plain loss is the anchor of the method's section 5.
    Generic,
}

/// Weight from which a turn is the person's word: said, edited, approved or imported.
const JUDGED: f32 = 0.5;

/// One turn of a conversation with the states that predict its tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Conversations are never split between folds.
    pub conversation: u64,
    /// Said by the user.
    pub own: bool,
    /// Weight of the lesson.
    pub weight: f32,
    /// See [`Part`].
    pub part: Part,
    /// n tokens of message text and the end marker.
    pub targets: Vec<u32>,
    /// The n states that predict them.
    pub states: States,
}

impl Turn {
    /// Whether it is remembered and measures; what the model wrote, an unrated reply or generic text, does neither.
    #[must_use]
    pub fn judged(&self) -> bool {
        self.weight >= JUDGED && self.part != Part::Generic
    }

    /// Whether networks and gate are fitted on it.
    pub(crate) fn trains(&self) -> bool {
        matches!(self.part, Part::Train | Part::Generic) && self.weight > 0.0 && !self.targets.is_empty()
    }
}

/// What the side network minimises; the first is the method's, the others are there to be measured against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// `-log((1 - p) P_base(y) + p F(y))`.
    Marginal,
    /// `-(1 - p) log P_base(y) - p log F(y)`: the loss that is expected when the gate draws.
    Expected,
    /// `-log F(y)`, whatever the gate says.
    Straight,
}

const OBJECTIVES: [Objective; 3] = [Objective::Marginal, Objective::Expected, Objective::Straight];

/// How to train (method, sections 4 and 5).
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Peak learning rate of the side network.
    pub rate: f64,
    /// Epochs at most.
    pub epochs: u64,
    /// Share of units dropped.
    pub dropout: f64,
    /// Tokens of one step, about.
    pub batch: usize,
    /// Price of a transmission in nats.
    pub lambda: f64,
    /// Anchor weight; `None` takes it from the number of tokens.
    pub kappa: Option<f64>,
    /// Train the side network on the mixture with the memory; else on its own words alone.
    pub joint: bool,
    /// Have a memory, where the variant has one.
    pub memory: bool,
    /// See [`Objective`].
    pub objective: Objective,
    /// Largest share of open tokens that is served, for the candidate's own numbers; 1 sets no limit.
    pub budget: f64,
    /// Rows of the head a token's softmax runs over, beside those of its target and of the memory's votes; `None` takes all
    /// where the vocabulary is small.
    pub candidates: Option<usize>,
    /// Fit the gate on tokens that the network was not fitted on; else on the very same, which the method warns of.
    pub cross_fit: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self::of(Variant::Spa)
    }
}

impl Settings {
    /// Those of a variant. Beside a memory the side network has little left to learn from 5,000 tokens of a person who
    /// talks like the backbone's own text: 14 persona users -8.56 % NLL at rate 3e-4, -8.53 % at 1e-3. Far from that text
    /// it has more to do: 3 IRC users -12.3 % at 3e-4, -13.4 % at 1e-3 and at 3e-3. Without a memory (lst, full separation)
    /// 2e-3 is best.
    #[must_use]
    pub fn of(variant: Variant) -> Self {
        let rate = if variant.remembers() { 1e-3 } else { 2e-3 };
        Self {
            rate,
            epochs: 12,
            dropout: 0.5,
            batch: 128,
            lambda: crate::LAMBDA,
            kappa: None,
            joint: true,
            memory: true,
            objective: Objective::Marginal,
            budget: 1.0,
            candidates: None,
            cross_fit: true,
        }
    }

    /// Candidates of a token; `None`: all rows are computed. Where the hidden state is g alone, base says nothing of which
    /// tokens matter.
    pub(crate) fn candidates_for(&self, variant: Variant, vocab: usize) -> Option<usize> {
        let most = self.candidates.or_else(|| crate::training::automatic(vocab));
        most.filter(|most| *most < vocab && variant.integrates())
    }

    /// 0.3 below 5,000 user tokens, then 0.1, from 50,000 on 0.
    pub(crate) fn kappa_for(&self, tokens: usize) -> f64 {
        self.kappa.unwrap_or(match tokens {
            0..5_000 => 0.3,
            5_000..50_000 => 0.1,
            _ => 0.0,
        })
    }
}

/// A training, complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Sizes of the side network.
    pub shape: Shape,
    /// What is trained.
    pub variant: Variant,
    /// How.
    pub settings: Settings,
    /// What on.
    pub turns: Vec<Turn>,
    /// Bytes of an adapter whose side network is the starting point; a newborn without.
    pub parent: Option<Vec<u8>>,
    /// Bytes of the starter of this backbone: gate and mixer are pulled to its.
    pub starter: Option<Vec<u8>>,
    /// Of initialisation, order and dropout.
    pub seed: u64,
}

impl Job {
    /// Checks that lengths belong together and that there is something to train on.
    pub(crate) fn check(&self) -> Result<()> {
        let Shape { hidden, vocab, layer_taps, rank } = self.shape;
        let sizes = [(hidden, 1 << 16), (vocab, 1 << 24), (layer_taps, 256), (rank, 1 << 12)];
        if sizes.iter().any(|(size, limit)| *size == 0 || size > limit) {
            return Err(AdapterError::Shape("sizes of the side network beyond all reason".into()));
        }
        let Settings { rate, dropout, lambda, kappa, .. } = self.settings;
        let numbers = [rate, lambda, kappa.unwrap_or(0.0)];
        if numbers.iter().any(|n| !n.is_finite() || *n < 0.0) || !(0.0..1.0).contains(&dropout) {
            return Err(AdapterError::Shape("settings outside their ranges".into()));
        }
        for turn in &self.turns {
            let n = turn.targets.len();
            if turn.states.layout() != self.shape.layout() || turn.states.len() != n {
                return Err(AdapterError::Shape("a turn's states do not match its tokens".into()));
            }
            if !turn.weight.is_finite() {
                return Err(AdapterError::Shape("a turn's weight is no number".into()));
            }
            if turn.targets.iter().any(|t| *t as usize >= vocab) {
                return Err(AdapterError::Shape("a turn holds a token beyond the vocabulary".into()));
            }
        }
        let train = self.turns.iter().filter(|t| t.part == Part::Train && t.weight > 0.0);
        if train.map(|t| t.targets.len()).sum::<usize>() == 0 {
            return Err(AdapterError::Nothing("no lesson that may be trained on".into()));
        }
        Ok(())
    }

    /// For the trainer process.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::tagged(TAG);
        let s = self.shape;
        [s.hidden, s.vocab, s.layer_taps, s.rank].iter().for_each(|n| w.number(*n as u64));
        w.number(self.variant.code());
        w.number(self.seed);
        let t = &self.settings;
        [t.rate, t.dropout, t.lambda, t.kappa.unwrap_or(-1.0), t.budget].iter().for_each(|v| w.real(*v));
        w.number(t.epochs);
        w.number(t.candidates.map_or(u64::MAX, |n| n as u64));
        w.number(t.batch as u64);
        [t.joint, t.memory, t.cross_fit].iter().for_each(|on| w.number(u64::from(*on)));
        w.number(t.objective as u64);
        w.bytes(self.parent.as_deref().unwrap_or_default());
        w.bytes(self.starter.as_deref().unwrap_or_default());
        w.number(self.turns.len() as u64);
        for turn in &self.turns {
            w.number(turn.conversation);
            w.number(u64::from(turn.own));
            w.number(turn.part as u64);
            w.real(f64::from(turn.weight));
            w.ids(&turn.targets);
            w.bytes(turn.states.bytes());
        }
        w.finish()
    }

    /// Reads what [`Job::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`AdapterError::Damaged`] for anything else; lengths are checked when the training starts.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::tagged("the job", TAG, bytes)?;
        let shape = Shape { hidden: r.size()?, vocab: r.size()?, layer_taps: r.size()?, rank: r.size()? };
        let variant = Variant::from_code(r.number()?).ok_or_else(|| r.damaged("an unknown variant"))?;
        let seed = r.number()?;
        let (rate, dropout, lambda, kappa) = (r.real()?, r.real()?, r.real()?, r.real()?);
        let budget = r.real()?;
        let (epochs, candidates, batch) = (r.number()?, r.number()?, r.size()?);
        let candidates = usize::try_from(candidates).ok().filter(|n| *n < usize::MAX);
        let (joint, memory, cross_fit) = (r.number()? != 0, r.number()? != 0, r.number()? != 0);
        let objective = usize::try_from(r.number()?).ok().and_then(|n| OBJECTIVES.get(n)).copied();
        let objective = objective.ok_or_else(|| r.damaged("an unknown objective"))?;
        let kappa = (kappa >= 0.0).then_some(kappa);
        let settings = Settings {
            rate,
            epochs,
            dropout,
            batch,
            lambda,
            kappa,
            joint,
            memory,
            objective,
            budget,
            candidates,
            cross_fit,
        };
        let parent = Some(r.bytes()?.to_vec()).filter(|p| !p.is_empty());
        let starter = Some(r.bytes()?.to_vec()).filter(|s| !s.is_empty());
        let mut turns = Vec::new();
        for _ in 0..r.number()? {
            let (conversation, own, part) = (r.number()?, r.number()? != 0, r.number()?);
            let part = match part {
                0 => Part::Train,
                1 => Part::EarlyStop,
                2 => Part::HeldOut,
                3 => Part::Generic,
                _ => return Err(r.damaged("an unknown part")),
            };
            let weight = r.real()? as f32;
            let (targets, states) = (r.ids()?, r.bytes()?.to_vec());
            let states = States::new(shape.layout(), states).map_err(|e| r.damaged(&e.to_string()))?;
            turns.push(Turn { conversation, own, weight, part, targets, states });
        }
        r.end()?;
        Ok(Self { shape, variant, settings, turns, parent, starter, seed })
    }
}
