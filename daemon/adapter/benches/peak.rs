//! Peak memory of a trainer process with a full replay of lessons: the bench starts itself as one, feeds it a head and a
//! job by its standard input as the daemon does, and asks the system for its high-water mark. Linux only.
//! `cargo bench -p aside-adapter --bench peak`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints what it measures")]

use aside_adapter::{Head, Job, Part, Settings, Shape, Training, Turn, Variant};
use aside_codec::{BLOCK_BYTES, GROUP, States};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// The bundled backbone's sizes, and those of Qwen2.5-0.5B.
const BUNDLED: Shape = Shape { hidden: 256, vocab: 6144, layer_taps: 5, rank: 64 };
const LARGE: Shape = Shape { hidden: 896, vocab: 151_936, layer_taps: 5, rank: 64 };
/// Tokens of a turn, and turns of a conversation.
const TURN: usize = 20;
const TURNS: u64 = 10;

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Q8_0 rows of a head, made up block by block.
fn head(shape: Shape) -> Vec<u8> {
    let blocks = shape.vocab * shape.hidden / GROUP;
    let mut bytes = Vec::with_capacity(blocks * BLOCK_BYTES);
    let mut state = 1u64;
    for _ in 0..blocks {
        // An f16 near 0.002, then 32 values.
        bytes.extend_from_slice(&0x1800u16.to_le_bytes());
        for _ in 0..GROUP {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.push((state >> 40) as u8);
        }
    }
    bytes
}

fn job(shape: Shape, tokens: usize) -> Job {
    let turn = |number: u64| Turn {
        conversation: number / TURNS,
        own: true,
        weight: 1.0,
        part: match number % 20 {
            4 => Part::EarlyStop,
            9 | 14 | 19 => Part::HeldOut,
            _ => Part::Train,
        },
        targets: (0..TURN as u64).map(|i| ((i * 17 + number * 31) % shape.vocab as u64) as u32).collect(),
        states: States::encode(
            shape.layout(),
            &random(TURN * shape.layer_taps * shape.hidden, number),
            &random(TURN * shape.hidden, number + (1 << 40)),
        ),
    };
    let turns = (0..(tokens / TURN) as u64).map(turn).collect();
    Job {
        shape,
        variant: Variant::Spa,
        settings: Settings::default(),
        turns,
        parent: None,
        starter: None,
        seed: 1,
    }
}

fn read_frame(input: &mut impl Read) -> Vec<u8> {
    let mut length = [0; 8];
    input.read_exact(&mut length).unwrap();
    let mut bytes = Vec::new();
    input.take(u64::from_le_bytes(length)).read_to_end(&mut bytes).unwrap();
    bytes
}

/// What the trainer does, cut short in the first epoch of the first fold, and the measuring at its end.
fn trainer(shape: Shape) {
    let mut input = std::io::stdin().lock();
    let (head, job) = (read_frame(&mut input), read_frame(&mut input));
    let head = {
        let bytes = head;
        Head::from_q8_0(&bytes, shape.vocab, shape.hidden).unwrap()
    };
    let job = {
        let bytes = job;
        Job::from_bytes(&bytes).unwrap()
    };
    let mut training = Training::new(&job, &head).unwrap();
    (0..20).for_each(|_| drop(training.step().unwrap()));
    drop(training.checkpoint().unwrap());
    drop(training.finish().unwrap().adapter.to_bytes().unwrap());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap().trim();
    let kib: f64 = peak.trim_end_matches("kB").trim().parse().unwrap();
    println!("{}", kib / 1024.0);
}

fn measure(name: &str, shape: Shape, tokens: usize, limit: f64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["trainer", name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for frame in [head(shape), job(shape, tokens).to_bytes()] {
        input.write_all(&(frame.len() as u64).to_le_bytes()).unwrap();
        input.write_all(&frame).unwrap();
    }
    drop(input);
    let told = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let peak: f64 = told.trim().parse().unwrap();
    println!("{name}: {tokens} lesson tokens, peak {peak:.0} MiB, {:.2} of {limit:.0} MiB", peak / limit);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["trainer", "bundled"] => trainer(BUNDLED),
        ["trainer", _] => trainer(LARGE),
        // `cargo test --benches` runs this too: then a glance is enough.
        all if all.contains(&"--bench") => {
            measure("bundled", BUNDLED, 20_000, 150.0);
            measure("H 896, V 151,936", LARGE, 8_000, 1024.0);
        }
        _ => measure("bundled", BUNDLED, 200, 150.0),
    }
}
