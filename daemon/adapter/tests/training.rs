//! Whole trainings on small invented users: what is learnt, resumed, refused and written down.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use aside_adapter::{Adapter, Head, Job, Part, Settings, Shape, Training, Turn, Variant, evaluate};
use aside_codec::States;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

const SHAPE: Shape = Shape { hidden: 32, vocab: 24, layer_taps: 1, rank: 8 };

/// Numbers in -1..1 from a seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

fn head() -> Head {
    let mut noise = Noise(1);
    let dense: Vec<f32> = (0..SHAPE.vocab * SHAPE.hidden).map(|_| noise.next()).collect();
    let dense = Tensor::from_vec(dense, (SHAPE.vocab, SHAPE.hidden), &Device::Cpu).unwrap();
    let rows = QTensor::quantize(&dense, GgmlDType::Q8_0).unwrap();
    Head::from_q8_0(&rows.data().unwrap(), SHAPE.vocab, SHAPE.hidden).unwrap()
}

/// Drawn from base at temperature 1: nothing can be learnt from it.
fn as_base_says(head: &Head, z: &[f32], noise: &mut Noise) -> u32 {
    let gumbel = |u: f32| -(-(u * 0.5 + 0.5).clamp(1e-6, 1.0 - 1e-6).ln()).ln();
    let drawn: Vec<f32> = head.logits(z).unwrap().iter().map(|l| l + gumbel(noise.next())).collect();
    (0..drawn.len()).max_by(|a, b| drawn[*a].total_cmp(&drawn[*b])).unwrap() as u32
}

/// A user whose token is 7 wherever the first state is high; elsewhere base is right.
fn user(conversations: u64) -> Vec<Turn> {
    let head = head();
    let mut noise = Noise(2);
    let mut turns = Vec::new();
    for number in 0..conversations * 5 {
        let part = match number % 20 {
            4 => Part::EarlyStop,
            9 | 14 | 19 => Part::HeldOut,
            _ => Part::Train,
        };
        let (mut targets, mut taps, mut z) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..12 {
            let mut state: Vec<f32> = (0..SHAPE.hidden).map(|_| noise.next()).collect();
            let special = noise.next() > 0.3;
            state[0] = if special { 2.0 } else { -2.0 };
            targets.push(if special { 7 } else { as_base_says(&head, &state, &mut noise) });
            let size = (state.iter().map(|v| v * v).sum::<f32>() / SHAPE.hidden as f32).sqrt();
            taps.extend(state.iter().map(|v| v / size));
            z.extend(state);
        }
        let states = States::encode(SHAPE.layout(), &taps, &z);
        let conversation = number / 5;
        turns.push(Turn { conversation, own: number % 2 == 0, weight: 1.0, part, targets, states });
    }
    turns
}

fn job(variant: Variant, conversations: u64) -> Job {
    let settings = Settings { rate: 1e-2, epochs: 4, dropout: 0.1, batch: 64, ..Settings::default() };
    Job { shape: SHAPE, variant, settings, turns: user(conversations), parent: None, starter: None, seed: 5 }
}

fn to_the_end(mut training: Training<'_>) -> (Vec<u8>, aside_adapter::Evaluation, u64) {
    while training.step().unwrap().is_some() {}
    let candidate = training.finish().unwrap();
    (candidate.adapter.to_bytes().unwrap(), candidate.held_out, candidate.epochs)
}

#[test]
fn learns_a_habit_and_opens_where_it_shows() {
    let (head, job) = (head(), job(Variant::Spa, 40));
    let (bytes, found, _) = to_the_end(Training::new(&job, &head).unwrap());
    assert!(found.nll_gated < 0.8 * found.nll_base, "{found:?}");
    assert!(found.gated_cost < found.nll_base, "{found:?}");
    assert!(found.open_rate > 0.1 && found.open_rate < 0.75, "{found:?}");
    let adapter = Adapter::from_bytes(&bytes).unwrap();
    let gate = adapter.gate().unwrap();
    let (mut right, mut all) = (0, 0);
    let held_out: Vec<f32> =
        job.turns.iter().filter(|t| t.part == Part::HeldOut).flat_map(|t| t.states.z()).collect();
    for z in held_out.chunks(SHAPE.hidden) {
        right += usize::from(gate.opens(gate.probability(z)) == (z[0] > 0.0));
        all += 1;
    }
    assert!(right * 5 > all * 4, "the gate is right at {right} of {all}");
    assert!(gate.table.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 >= w[1].1), "{:?}", gate.table);
}

#[test]
fn noise_alone_opens_next_to_nothing() {
    let head = head();
    let mut job = job(Variant::Spa, 20);
    let mut noise = Noise(9);
    for turn in &mut job.turns {
        for (target, z) in turn.targets.iter_mut().zip(turn.states.z().chunks(SHAPE.hidden)) {
            *target = as_base_says(&head, z, &mut noise);
        }
    }
    let (_, found, _) = to_the_end(Training::new(&job, &head).unwrap());
    assert!(found.nll_gated < found.nll_base * 1.02, "{found:?}");
    assert!(found.open_rate < 0.25, "{found:?}");
}

#[test]
fn a_checkpoint_resumes_bit_for_bit() {
    let (head, job) = (head(), job(Variant::Spa, 8));
    let whole = to_the_end(Training::new(&job, &head).unwrap());
    let mut training = Training::new(&job, &head).unwrap();
    let mut steps = 0;
    loop {
        if steps % 7 == 3 {
            let checkpoint = training.checkpoint().unwrap();
            let resumed = Training::resume(&job, &head, &checkpoint).unwrap();
            assert_eq!(resumed.checkpoint().unwrap(), checkpoint, "after {steps} steps");
            assert!(to_the_end(resumed) == whole, "after {steps} steps");
        }
        if training.step().unwrap().is_none() {
            break;
        }
        steps += 1;
    }
    assert!(steps > 20, "{steps}");
    assert!(to_the_end(training) == whole);
    let other = Job { seed: 6, ..job.clone() };
    assert!(to_the_end(Training::new(&other, &head).unwrap()).0 != whole.0);
}

#[test]
fn a_damaged_checkpoint_is_refused_and_never_panics() {
    let (head, job) = (head(), job(Variant::Spa, 4));
    let mut training = Training::new(&job, &head).unwrap();
    for _ in 0..5 {
        training.step().unwrap();
    }
    let checkpoint = training.checkpoint().unwrap();
    for cut in (0..checkpoint.len()).step_by(checkpoint.len() / 40) {
        assert!(Training::resume(&job, &head, &checkpoint[..cut]).is_err(), "{cut}");
    }
    for at in (0..checkpoint.len()).step_by(checkpoint.len() / 60) {
        let mut damaged = checkpoint.clone();
        damaged[at] ^= 0x80;
        if let Ok(mut resumed) = Training::resume(&job, &head, &damaged) {
            let _ = resumed.step();
        }
    }
    let other = Job { seed: 99, ..job.clone() };
    assert!(Training::resume(&other, &head, &checkpoint).is_err());
}

#[test]
fn a_job_comes_back_and_damage_is_refused() {
    let mut job = job(Variant::FullSeparation, 2);
    job.parent = Some(Adapter::birth(SHAPE, Variant::FullSeparation, 3).unwrap().to_bytes().unwrap());
    job.settings.kappa = Some(0.2);
    let bytes = job.to_bytes();
    assert_eq!(Job::from_bytes(&bytes).unwrap(), job);
    for cut in (0..bytes.len()).step_by(211) {
        assert!(Job::from_bytes(&bytes[..cut]).is_err(), "{cut}");
    }
    for at in (0..bytes.len()).step_by(307).chain(0..200) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xFF;
        if let Ok(job) = Job::from_bytes(&damaged) {
            let _ = Training::new(&job, &head());
        }
    }
}

#[test]
fn what_does_not_hold_together_is_refused() {
    let head = head();
    let good = job(Variant::Spa, 2);
    let spoilt = |spoil: &dyn Fn(&mut Job)| {
        let mut job = good.clone();
        spoil(&mut job);
        Training::new(&job, &head).is_err()
    };
    assert!(!spoilt(&|_| ()));
    assert!(spoilt(&|j| j.turns.clear()));
    assert!(spoilt(&|j| j.turns.iter_mut().for_each(|t| t.weight = 0.0)));
    assert!(spoilt(&|j| j.turns[0].states.truncate(1)));
    assert!(spoilt(&|j| j.turns[0].weight = f32::NAN));
    assert!(spoilt(&|j| j.turns[0].targets[0] = 24));
    assert!(spoilt(&|j| j.shape.hidden = 64));
    assert!(spoilt(&|j| j.shape.rank = usize::MAX));
    assert!(spoilt(&|j| j.settings.dropout = 1.0));
    assert!(spoilt(&|j| j.settings.rate = f64::NAN));
    let small = Shape { rank: 4, ..SHAPE };
    let parent = Adapter::birth(small, Variant::Spa, 1).unwrap().to_bytes().unwrap();
    assert!(spoilt(&|j| j.parent = Some(parent.clone())));
}

#[test]
fn every_variant_trains_and_is_measured_as_it_serves() {
    let head = head();
    for variant in [Variant::Lst, Variant::FullIntegration, Variant::FullSeparation, Variant::Spa] {
        let job = job(variant, 8);
        let (bytes, found, _) = to_the_end(Training::new(&job, &head).unwrap());
        let adapter = Adapter::from_bytes(&bytes).unwrap();
        assert_eq!(adapter.variant(), variant);
        assert_eq!(adapter.gate().is_some(), variant.gated());
        if !variant.gated() {
            assert_eq!(found.open_rate, 1.0);
            assert_eq!(found.nll_gated, found.nll_open);
        }
        let counts: u64 = found.differs_open.iter().flatten().sum();
        assert_eq!(counts, found.tokens);
    }
}

#[test]
fn base_and_a_newborn_cost_the_same() {
    let (head, turns) = (head(), user(2));
    let base = evaluate(None, &head, &turns, 0.05).unwrap();
    assert_eq!((base.open_rate, base.gated_cost), (0.0, base.nll_base));
    let newborn = Adapter::birth(SHAPE, Variant::FullIntegration, 1).unwrap();
    let newborn = evaluate(Some(&newborn), &head, &turns, 0.05).unwrap();
    assert_eq!(newborn.nll_open, base.nll_base);
    assert_eq!(newborn.diff_rate, 0.0);
    assert!((newborn.gated_cost - base.nll_base - 0.05).abs() < 1e-12);
}

#[test]
fn one_turn_is_learned_and_opens_nothing() {
    let (head, mut job) = (head(), job(Variant::Spa, 2));
    job.turns.truncate(1);
    job.turns.iter_mut().for_each(|t| t.part = Part::Train);
    let (bytes, found, _) = to_the_end(Training::new(&job, &head).unwrap());
    let adapter = Adapter::from_bytes(&bytes).unwrap();
    assert!(adapter.gate().is_none());
    assert_eq!(found.tokens, 0);
}
