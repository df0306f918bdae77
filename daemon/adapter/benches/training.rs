//! What a training step costs against plain autograd through the head, in the same run at equal threads: exactly, at the
//! sizes of the bundled backbone, and over candidate rows at those of a large vocabulary.
//! `cargo bench -p aside-adapter --bench training`; set CANDLE_NUM_THREADS=1 RAYON_NUM_THREADS=1 for one core.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints what it measures")]

use aside_adapter::{Head, Job, Part, Settings, Shape, Training, Turn, Variant};
use aside_codec::States;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{D, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use std::time::Instant;

/// The bundled backbone's sizes, and those of Qwen2.5-0.5B.
const BUNDLED: Shape = Shape { hidden: 256, vocab: 6144, layer_taps: 5, rank: 64 };
const LARGE: Shape = Shape { hidden: 896, vocab: 151_936, layer_taps: 5, rank: 64 };

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn tensor(rows: usize, width: usize, seed: u64) -> Tensor {
    Tensor::from_vec(random(rows * width, seed), (rows, width), &Device::Cpu).unwrap()
}

/// A head that prefers some tokens clearly, as a trained one does.
fn head(shape: Shape) -> Head {
    let size = 6.0 / (shape.hidden as f64).sqrt();
    let dense = (tensor(shape.vocab, shape.hidden, 7) * size).unwrap();
    let rows = QTensor::quantize(&dense, GgmlDType::Q8_0).unwrap();
    Head::from_q8_0(&rows.data().unwrap(), shape.vocab, shape.hidden).unwrap()
}

fn job(shape: Shape, batch: usize, turns: u64) -> Job {
    let turn = |number: u64| Turn {
        conversation: number,
        own: true,
        weight: 1.0,
        part: Part::Train,
        targets: (0..batch as u32).map(|i| i * 17 % shape.vocab as u32).collect(),
        states: States::encode(
            shape.layout(),
            &random(batch * shape.layer_taps * shape.hidden, number),
            &random(batch * shape.hidden, number + 100),
        ),
    };
    let settings = Settings { batch, epochs: 1000, ..Settings::default() };
    // Always open: no folds, every step is one of the final network's.
    let variant = Variant::FullIntegration;
    Job {
        shape,
        variant,
        settings,
        turns: (0..turns).map(turn).collect(),
        parent: None,
        starter: None,
        seed: 1,
    }
}

/// Milliseconds a token of reading the lessons, and of a step: forward, gradient, optimiser.
fn ours(shape: Shape, head: &Head, batch: usize, steps: u64) -> (f64, f64) {
    let job = job(shape, batch, 2);
    let start = Instant::now();
    let mut training = Training::new(&job, head).unwrap();
    let reading = start.elapsed().as_secs_f64() * 1e3 / (2 * batch) as f64;
    training.step().unwrap();
    let start = Instant::now();
    (0..steps).for_each(|_| drop(training.step().unwrap()));
    (reading, start.elapsed().as_secs_f64() * 1e3 / (steps as usize * batch) as f64)
}

fn normalised(x: &Tensor) -> Tensor {
    let mean = x.sqr().unwrap().mean_keepdim(D::Minus1).unwrap();
    x.broadcast_div(&(mean + 1e-6).unwrap().sqrt().unwrap()).unwrap()
}

fn dropped(x: &Tensor, seed: u64) -> Tensor {
    let mask = random(x.elem_count(), seed).into_iter().map(|u| if u < 0.0 { 0f32 } else { 2.0 }).collect();
    (x * Tensor::from_vec(mask, x.dims(), &Device::Cpu).unwrap()).unwrap()
}

/// Milliseconds a token of a step as a plain program writes it: the same network, norms, dropout and optimiser, but the
/// head in the graph, softmax over all rows, backward.
fn plain(shape: Shape, batch: usize, steps: u64) -> f64 {
    let Shape { hidden, vocab, layer_taps, rank } = shape;
    let wide = rank * 4;
    let variable =
        |rows, width, seed| Var::from_tensor(&(tensor(rows, width, seed) * 0.05).unwrap()).unwrap();
    let rungs: Vec<[Var; 5]> = (0..=layer_taps as u64)
        .map(|k| {
            let at = 10 * k;
            let mix = Var::from_tensor(&tensor(1, rank, at).squeeze(0).unwrap()).unwrap();
            let (project, gate) = (variable(hidden, rank, at + 1), variable(rank, wide, at + 2));
            [project, mix, gate, variable(rank, wide, at + 3), variable(wide, rank, at + 4)]
        })
        .collect();
    let output = variable(rank, hidden, 99);
    let all = rungs.iter().flatten().chain([&output]).cloned().collect();
    let mut optimiser = AdamW::new(all, ParamsAdamW::default()).unwrap();
    // Frozen: backward computes its gradient all the same.
    let head = tensor(vocab, hidden, 7);
    let taps: Vec<Tensor> = (0..=layer_taps as u64).map(|k| tensor(batch, hidden, 200 + k)).collect();
    let ids = Tensor::from_vec((0..batch as u32).collect(), (batch, 1), &Device::Cpu).unwrap();
    let mut step = || {
        let mut s = Tensor::zeros((batch, rank), candle_core::DType::F32, &Device::Cpu).unwrap();
        for ([project, mix, gate, up, down], tap) in rungs.iter().zip(&taps) {
            let e = normalised(&normalised(tap).matmul(project).unwrap());
            let mu = candle_nn::ops::sigmoid(mix).unwrap();
            let (kept, new) = (s.broadcast_mul(&mu), e.broadcast_mul(&mu.affine(-1.0, 1.0).unwrap()));
            let kept = (kept.unwrap() + new.unwrap()).unwrap();
            let inner = (kept.matmul(gate).unwrap().silu().unwrap() * kept.matmul(up).unwrap()).unwrap();
            s = (&kept + dropped(&inner, 3).matmul(down).unwrap()).unwrap();
        }
        let g = dropped(&normalised(&s), 4).matmul(&output).unwrap();
        let state = (g + taps.last().unwrap()).unwrap();
        let logits = state.matmul(&head.t().unwrap()).unwrap();
        let logs = candle_nn::ops::log_softmax(&logits, D::Minus1).unwrap();
        let loss = logs.gather(&ids, 1).unwrap().mean_all().unwrap().neg().unwrap();
        optimiser.backward_step(&loss).unwrap();
    };
    step();
    let start = Instant::now();
    (0..steps).for_each(|_| step());
    start.elapsed().as_secs_f64() * 1e3 / (steps as usize * batch) as f64
}

fn compare(name: &str, shape: Shape, batch: usize, steps: (u64, u64)) {
    let head = head(shape);
    let (reading, own) = ours(shape, &head, batch, steps.0);
    drop(head);
    let by_autograd = plain(shape, batch, steps.1);
    println!(
        "{name}: a step {own:.3} ms a token, plain autograd {by_autograd:.3} ms, {:.1} times as fast; reading the lessons once {reading:.2} ms a token",
        by_autograd / own
    );
}

fn main() {
    // `cargo test --benches` runs this too: then a glance is enough.
    let whole = std::env::args().any(|a| a == "--bench");
    let steps = if whole { (20, 20) } else { (1, 1) };
    compare("bundled, all rows (H 256, V 6,144, exact)", BUNDLED, 256, steps);
    if whole {
        compare("candidate rows (H 896, V 151,936)", LARGE, 64, (20, 2));
    }
}
