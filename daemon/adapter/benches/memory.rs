//! What an open token pays for the personal memory: a search over 50,000 rows and the votes, against one product with the
//! bundled head. `cargo bench -p aside-adapter --bench memory`; one thread.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints what it measures")]

use aside_adapter::{Adapter, Head, Part, Shape, Turn, Variant};
use aside_codec::{Layout, States};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use std::time::Instant;

/// The bundled backbone's sizes.
const SHAPE: Shape = Shape { hidden: 256, vocab: 6144, layer_taps: 5, rank: 64 };
const ROWS: usize = 50_000;
const QUERIES: usize = 200;

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The median of microseconds.
fn median(mut each: impl FnMut(usize)) -> f64 {
    let mut times: Vec<f64> = (0..QUERIES)
        .map(|i| {
            let start = Instant::now();
            each(i);
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times.get(QUERIES / 2).copied().unwrap()
}

fn main() {
    let dense =
        Tensor::from_vec(random(SHAPE.vocab * SHAPE.hidden, 1), (SHAPE.vocab, SHAPE.hidden), &Device::Cpu);
    let rows = QTensor::quantize(&dense.unwrap(), GgmlDType::Q8_0).unwrap();
    let head = Head::from_q8_0(&rows.data().unwrap(), SHAPE.vocab, SHAPE.hidden).unwrap();
    let layout = Layout { hidden: SHAPE.hidden, layer_taps: 1 };
    let mut adapter = Adapter::birth(SHAPE, Variant::Spa, 1).unwrap();
    adapter.remember(&[Turn {
        conversation: 1,
        own: true,
        weight: 1.0,
        part: Part::Train,
        targets: (0..ROWS as u32).map(|i| i % SHAPE.vocab as u32).collect(),
        states: States::encode(layout, &vec![0.0; ROWS * SHAPE.hidden], &random(ROWS * SHAPE.hidden, 2)),
    }]);
    let queries = random(QUERIES * SHAPE.hidden, 3);
    let z = |i: usize| queries.get(i * SHAPE.hidden..(i + 1) * SHAPE.hidden).unwrap();
    let base = vec![(1.0 / SHAPE.vocab as f32).ln(); SHAPE.vocab];
    let recall = median(|i| drop(adapter.recall(z(i), &base, None)));
    let product = median(|i| drop(head.logits(z(i)).unwrap()));
    println!(
        "memory: {recall:.0} us an open token at {ROWS} rows; head: {product:.0} us; ratio {:.2}",
        recall / product
    );
}
