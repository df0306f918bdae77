//! Training tokens a second, and how the gradient by hand compares with autograd through the head.
//! `cargo bench -p aside-adapter`; set CANDLE_NUM_THREADS=1 RAYON_NUM_THREADS=1 for one core.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints what it measures")]

use aside_adapter::{Head, Job, Part, Settings, Shape, Training, Turn, Variant};
use aside_codec::States;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{D, Device, Tensor, Var};
use std::time::Instant;

/// The bundled backbone's sizes.
const SHAPE: Shape = Shape { hidden: 256, vocab: 6144, layer_taps: 5, rank: 64 };
const BATCH: usize = 256;

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Tokens a second of whole steps: forward, gradient by hand, optimiser.
fn whole_steps(head: &Head, steps: usize) -> f64 {
    let turn = |number: u64| Turn {
        conversation: number,
        own: true,
        weight: 1.0,
        part: Part::Train,
        targets: (0..BATCH as u32).map(|i| i * 17 % SHAPE.vocab as u32).collect(),
        states: States::encode(
            SHAPE.layout(),
            &random(BATCH * SHAPE.layer_taps * SHAPE.hidden, number),
            &random(BATCH * SHAPE.hidden, number + 100),
        ),
    };
    let settings = Settings { batch: BATCH, epochs: 100, ..Settings::default() };
    let turns = (0..steps as u64 + 2).map(turn).collect();
    // Always open: no folds, every step is one of the final network's.
    let variant = Variant::FullIntegration;
    let job = Job { shape: SHAPE, variant, settings, turns, parent: None, seed: 1 };
    let mut training = Training::new(&job, head).unwrap();
    training.step().unwrap();
    let start = Instant::now();
    (0..steps).for_each(|_| drop(training.step().unwrap()));
    (steps * BATCH) as f64 / start.elapsed().as_secs_f64()
}

/// Seconds of dL/dhidden for one batch: by autograd with W in the graph, and by hand.
fn gradients(steps: usize) -> (f64, f64) {
    let tensor = |rows: usize, seed| {
        Tensor::from_vec(random(rows * SHAPE.hidden, seed), (rows, SHAPE.hidden), &Device::Cpu).unwrap()
    };
    let head = Var::from_tensor(&tensor(SHAPE.vocab, 1)).unwrap();
    let hidden = Var::from_tensor(&tensor(BATCH, 2)).unwrap();
    let targets: Vec<u32> = (0..BATCH as u32).collect();
    let ids = Tensor::from_vec(targets.clone(), (BATCH, 1), &Device::Cpu).unwrap();
    let plain = || {
        let logits = hidden.matmul(&head.t().unwrap()).unwrap();
        let logs = candle_nn::ops::log_softmax(&logits, D::Minus1).unwrap();
        drop(logs.gather(&ids, 1).unwrap().mean_all().unwrap().neg().unwrap().backward().unwrap());
    };
    let (detached, frozen) = (hidden.detach(), head.detach());
    let by_hand = || {
        let logits = detached.matmul(&frozen.t().unwrap()).unwrap();
        let mut rows = logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (row, target) in rows.chunks_exact_mut(SHAPE.vocab).zip(&targets) {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|l| *l = (*l - largest).exp());
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|l| *l /= sum * BATCH as f32);
            *row.get_mut(*target as usize).unwrap() -= 1.0 / BATCH as f32;
        }
        let rows = Tensor::from_vec(rows, (BATCH, SHAPE.vocab), &Device::Cpu).unwrap();
        drop(rows.matmul(&frozen).unwrap());
    };
    let time = |f: &dyn Fn()| {
        f();
        let start = Instant::now();
        (0..steps).for_each(|_| f());
        start.elapsed().as_secs_f64() / steps as f64
    };
    (time(&plain), time(&by_hand))
}

fn main() {
    // `cargo test --benches` runs this too: then a glance is enough.
    let steps = if std::env::args().any(|a| a == "--bench") { 20 } else { 1 };
    let dense =
        Tensor::from_vec(random(SHAPE.vocab * SHAPE.hidden, 7), (SHAPE.vocab, SHAPE.hidden), &Device::Cpu);
    let rows = QTensor::quantize(&dense.unwrap(), GgmlDType::Q8_0).unwrap();
    let head = Head::from_q8_0(&rows.data().unwrap(), SHAPE.vocab, SHAPE.hidden).unwrap();
    println!("whole steps: {:.0} tokens/s", whole_steps(&head, steps));
    let (plain, by_hand) = gradients(steps);
    println!(
        "dL/dhidden of {BATCH} tokens: autograd {:.0} ms, by hand {:.0} ms, {:.1}x",
        plain * 1e3,
        by_hand * 1e3,
        plain / by_hand
    );
}
