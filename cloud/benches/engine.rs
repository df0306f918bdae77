//! Speed of the engine: load time, prefill and decode tokens per second, and what a batch of eight gains.
//!
//! `cargo bench -p aside-cloud --bench engine [-- MODEL_FOLDER]`; without a folder the bundled backbone.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use aside_cloud::engine::{Backbone, Chunk, Precision, Sequence, bundled, load};

const PROMPT: usize = 512;
const STEPS: usize = 128;

fn main() {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let start = Instant::now();
    let loaded = match &folder {
        Some(folder) => load(Path::new(folder), Precision::Q8_0),
        None => bundled(),
    };
    let mut backbone = loaded.unwrap().backbone;
    println!("{}: loaded in {:?}", backbone.spec().name, start.elapsed());
    println!("first token after {:?}", first_token(backbone.as_mut()));
    println!("prefill of {PROMPT}: {:.0} tok/s", prefill(backbone.as_mut()));
    let single = decode(backbone.as_mut(), 1);
    for batch in [1, 2, 4, 8, 16] {
        let speed = decode(backbone.as_mut(), batch);
        println!("decode, batch {batch:2}: {speed:.0} tok/s, {:.2} of batch 1", speed / single);
    }
}

fn tokens(n: usize, seed: usize, vocab: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729 + 11) % vocab) as u32).collect()
}

fn first_token(backbone: &mut dyn Backbone) -> Duration {
    let start = Instant::now();
    let sequence = backbone.begin().unwrap();
    let hidden = backbone.forward(&[Chunk { sequence, tokens: &[1] }]).unwrap();
    backbone.head(&hidden.first().unwrap().z).unwrap();
    backbone.end(sequence);
    start.elapsed()
}

fn prefill(backbone: &mut dyn Backbone) -> f64 {
    let prompt = tokens(PROMPT, 1, backbone.spec().vocab);
    let (start, mut n) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(2) {
        let sequence = backbone.begin().unwrap();
        backbone.forward(&[Chunk { sequence, tokens: &prompt }]).unwrap();
        backbone.end(sequence);
        n += PROMPT;
    }
    n as f64 / start.elapsed().as_secs_f64()
}

/// Steps with the head's logits, after 64 positions of context each.
fn decode(backbone: &mut dyn Backbone, batch: usize) -> f64 {
    let vocab = backbone.spec().vocab;
    let sequences: Vec<Sequence> = (0..batch).map(|_| backbone.begin().unwrap()).collect();
    for (seed, sequence) in sequences.iter().enumerate() {
        backbone.forward(&[Chunk { sequence: *sequence, tokens: &tokens(64, seed, vocab) }]).unwrap();
    }
    let start = Instant::now();
    for step in 0..STEPS {
        let next = tokens(batch, step, vocab);
        let chunks: Vec<Chunk<'_>> = sequences
            .iter()
            .zip(next.chunks(1))
            .map(|(sequence, tokens)| Chunk { sequence: *sequence, tokens })
            .collect();
        let z: Vec<f32> =
            backbone.forward(&chunks).unwrap().into_iter().flat_map(|hidden| hidden.z).collect();
        backbone.head(&z).unwrap();
    }
    let speed = (batch * STEPS) as f64 / start.elapsed().as_secs_f64();
    sequences.into_iter().for_each(|sequence| backbone.end(sequence));
    speed
}
