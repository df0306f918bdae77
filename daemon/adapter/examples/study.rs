//! Trains and measures on dumped states: a bench for the method's settings, not part of the product.
//! usage: study HEAD.f32 VOCAB HIDDEN LAYER_TAPS key=value... -- USER.bin...
//! A user file is a row of turns: u32 conversation, own, test, n; n u32 targets; n taps; n z, all little-endian.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program for the bench, fed by hand"
)]

use aside_adapter::{Head, Job, Part, Settings, Shape, Training, Turn, Variant, evaluate};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect()
}

fn turns(path: &str, shape: Shape) -> (Vec<Turn>, Vec<Turn>) {
    let bytes = std::fs::read(path).unwrap();
    let (mut at, mut lessons) = (0, 0);
    let (mut train, mut test) = (Vec::new(), Vec::new());
    while at < bytes.len() {
        let head: Vec<u32> =
            bytes[at..at + 16].chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
        at += 16;
        let n = head[3] as usize;
        let mut take = |count: usize| {
            at += count * 4;
            &bytes[at - count * 4..at]
        };
        let targets = take(n).chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
        let taps = floats(take(n * shape.layer_taps * shape.hidden));
        let z = floats(take(n * shape.hidden));
        let part = match lessons % 20 {
            4 => Part::EarlyStop,
            9 | 14 | 19 => Part::HeldOut,
            _ => Part::Train,
        };
        let turn =
            Turn { conversation: u64::from(head[0]), own: head[1] != 0, weight: 1.0, part, targets, taps, z };
        if head[2] == 0 {
            lessons += 1;
            train.push(turn);
        } else {
            test.push(turn);
        }
    }
    (train, test)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse::<usize>().unwrap();
    let (vocab, hidden, layer_taps) = (number(1), number(2), number(3));
    let shape = Shape { hidden, vocab, layer_taps, rank: Shape::rank_for(hidden) };
    let dense = floats(&std::fs::read(&arguments[0]).unwrap());
    let dense = Tensor::from_vec(dense, (vocab, hidden), &Device::Cpu).unwrap();
    let rows = QTensor::quantize(&dense, GgmlDType::Q8_0).unwrap();
    let head = Head::from_q8_0(&rows.data().unwrap(), vocab, hidden).unwrap();
    let split = arguments.iter().position(|a| a == "--").unwrap();
    let mut settings = Settings::default();
    let mut seed = 1;
    let mut variant = Variant::Spa;
    let mut trace = false;
    for (key, value) in arguments[4..split].iter().filter_map(|a| a.split_once('=')) {
        match key {
            "rate" => settings.rate = value.parse().unwrap(),
            "epochs" => settings.epochs = value.parse().unwrap(),
            "dropout" => settings.dropout = value.parse().unwrap(),
            "batch" => settings.batch = value.parse().unwrap(),
            "kappa" => settings.kappa = Some(value.parse().unwrap()),
            "joint" => settings.joint = value.parse().unwrap(),
            "trace" => trace = true,
            "seed" => seed = value.parse().unwrap(),
            "variant" => variant = value.parse().unwrap(),
            _ => panic!("unknown setting {key}"),
        }
    }
    println!(
        "user epochs | base open gated | open% gated% | own open% gated% | replies gated% | open_rate cost-base | seconds"
    );
    let mut sums = [0.0; 6];
    for path in &arguments[split + 1..] {
        let (train, test) = turns(path, shape);
        let start = std::time::Instant::now();
        let job = Job { shape, variant, settings: settings.clone(), turns: train, parent: None, seed };
        let mut training = Training::new(&job, &head).unwrap();
        let mut last = None;
        while let Some(progress) = training.step().unwrap() {
            if trace && progress.nll != last {
                last = progress.nll;
                println!("  {} {:?}", progress.stage, progress.nll);
            }
        }
        let candidate = training.finish().unwrap();
        let seconds = start.elapsed().as_secs_f64();
        let of = |keep: &dyn Fn(&&Turn) -> bool| {
            evaluate(Some(&candidate.adapter), &head, test.iter().filter(keep), settings.lambda).unwrap()
        };
        let (all, own, replies) = (of(&|_| true), of(&|t| t.own), of(&|t| !t.own));
        let change = |b: f64, x: f64| 100.0 * (x / b - 1.0);
        let row = [
            change(all.nll_base, all.nll_open),
            change(all.nll_base, all.nll_gated),
            change(own.nll_base, own.nll_gated),
            change(replies.nll_base, replies.nll_gated),
            all.open_rate,
            all.gated_cost - all.nll_base,
        ];
        sums.iter_mut().zip(row).for_each(|(s, r)| *s += r);
        println!(
            "{} {} | {:.3} {:.3} {:.3} | {:+.2} {:+.2} | own {:+.2} | replies {:+.2} | rate {:.2} cost {:+.4} | {seconds:.0} s | held-out {:+.2} ({})",
            path.rsplit('/').next().unwrap(),
            candidate.epochs,
            all.nll_base,
            all.nll_open,
            all.nll_gated,
            row[0],
            row[1],
            row[2],
            row[3],
            row[4],
            row[5],
            change(candidate.held_out.nll_base, candidate.held_out.nll_gated),
            candidate.held_out.tokens,
        );
    }
    let n = (arguments.len() - split - 1) as f64;
    println!(
        "mean: open {:+.2} gated {:+.2} own {:+.2} replies {:+.2} rate {:.2} cost {:+.4}",
        sums[0] / n,
        sums[1] / n,
        sums[2] / n,
        sums[3] / n,
        sums[4] / n,
        sums[5] / n
    );
}
