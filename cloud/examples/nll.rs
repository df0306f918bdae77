//! Mean negative log-likelihood of token sequences under a backbone: `nll TOKENS.json [FOLDER]`, a JSON array of arrays
//! of ids. Without a folder the bundled backbone; a folder is measured in f32 and in Q8_0.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program for people"
)]

use std::path::Path;

use aside_cloud::engine::{Backbone, Chunk, Precision, bundled, load_decoder};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let documents: Vec<Vec<u32>> =
        serde_json::from_str(&std::fs::read_to_string(&arguments[0]).unwrap()).unwrap();
    let Some(folder) = arguments.get(1) else {
        let mut backbone = bundled().unwrap().backbone;
        println!("bundled: {:.5}", mean(&documents, backbone.as_mut(), |b, z| b.head(z).unwrap()));
        return;
    };
    for precision in [Precision::F32, Precision::Q8_0] {
        let (mut decoder, _) = load_decoder(Path::new(folder), precision).unwrap();
        let kit = mean(&documents, &mut decoder, |b, z| b.head(z).unwrap());
        println!("{precision:?}, the kit's head: {kit:.5}");
        if precision == Precision::F32 {
            let exact = mean(&documents, &mut decoder, |b, z| b.exact_logits(z).unwrap().unwrap());
            println!("{precision:?}, its own head: {exact:.5}");
        }
    }
}

/// Nats a token, over every token but the first of a sequence.
fn mean<B: Backbone + ?Sized>(
    documents: &[Vec<u32>],
    backbone: &mut B,
    head: impl Fn(&B, &[f32]) -> Vec<f32>,
) -> f64 {
    let (mut total, mut n) = (0.0, 0);
    for tokens in documents {
        let sequence = backbone.begin().unwrap();
        let hidden = backbone.forward(&[Chunk { sequence, tokens }]).unwrap().remove(0);
        backbone.end(sequence);
        let logits = head(backbone, &hidden.z);
        for (row, next) in logits.chunks(backbone.spec().vocab).zip(&tokens[1..]) {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|v| f64::from(v - largest).exp()).sum();
            total += sum.ln() - f64::from(row[*next as usize] - largest);
            n += 1;
        }
    }
    total / f64::from(n)
}
