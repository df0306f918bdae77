//! The bundled backbone: the kit it ships, and that a position's bits do not depend on how it was computed. Resuming
//! an answer after a lost connection relies on that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use aside_cloud::engine::{Backbone, Chunk, EngineError, Hidden, Sequence, bundled};
use candle_core::{
    Device, Module, Tensor,
    quantized::{GgmlDType, QMatMul, QStorage, QTensor},
};
use ring::digest::{SHA256, digest};
use safetensors::SafeTensors;
use tokenizers::Tokenizer;

fn backbone() -> Box<dyn Backbone> {
    bundled().unwrap().backbone
}

fn tokens(n: usize, seed: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * i * 31 + i * 7919 + seed * 104_729) % 6144) as u32).collect()
}

fn prefill(backbone: &mut dyn Backbone, tokens: &[u32]) -> (Sequence, Hidden) {
    let sequence = backbone.begin().unwrap();
    (sequence, backbone.forward(&[Chunk { sequence, tokens }]).unwrap().remove(0))
}

/// z, taps and logits of one position.
fn position(backbone: &dyn Backbone, hidden: &Hidden, at: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let (h, k) = (backbone.spec().hidden, backbone.spec().taps.len());
    let z = hidden.z[at * h..(at + 1) * h].to_vec();
    let logits = backbone.head(&z).unwrap();
    (z, hidden.taps[at * k * h..(at + 1) * k * h].to_vec(), logits)
}

#[test]
fn rows_are_the_same_alone_and_in_a_batch_of_eight() {
    let mut backbone = backbone();
    let prompts: Vec<Vec<u32>> = (0..8).map(|seed| tokens(5 + 9 * seed, seed)).collect();
    let alone: Vec<Hidden> = prompts.iter().map(|p| prefill(backbone.as_mut(), p).1).collect();
    let sequences: Vec<Sequence> = prompts.iter().map(|_| backbone.begin().unwrap()).collect();
    let batch = |from: usize, to: usize| -> Vec<Chunk<'_>> {
        sequences
            .iter()
            .zip(&prompts)
            .map(|(sequence, p)| Chunk { sequence: *sequence, tokens: &p[from..to.min(p.len())] })
            .collect()
    };
    // Four single steps of all eight, then the ragged rest.
    let mut steps: Vec<Vec<Hidden>> =
        (0..4).map(|at| backbone.forward(&batch(at, at + 1)).unwrap()).collect();
    steps.push(backbone.forward(&batch(4, usize::MAX)).unwrap());
    for (index, alone) in alone.iter().enumerate() {
        let z: Vec<f32> = steps.iter().flat_map(|step| step[index].z.clone()).collect();
        let taps: Vec<f32> = steps.iter().flat_map(|step| step[index].taps.clone()).collect();
        assert_eq!((&alone.z, &alone.taps), (&z, &taps), "sequence {index}");
        let rows = backbone.head(&alone.z).unwrap();
        let single: Vec<f32> = alone.z.chunks(256).flat_map(|z| backbone.head(z).unwrap()).collect();
        assert_eq!(rows, single, "logits of sequence {index}");
    }
}

#[test]
fn truncate_and_replay_repeats_the_bits() {
    let mut backbone = backbone();
    let all = tokens(200, 3);
    let (sequence, first) = prefill(backbone.as_mut(), &all);
    for cut in [199, 120, 1, 0] {
        backbone.truncate(sequence, cut).unwrap();
        assert_eq!(backbone.len(sequence), cut);
        let other = tokens(17, cut);
        backbone.forward(&[Chunk { sequence, tokens: &other }]).unwrap();
        backbone.truncate(sequence, cut).unwrap();
        let again = backbone.forward(&[Chunk { sequence, tokens: &all[cut..] }]).unwrap().remove(0);
        assert_eq!(again.positions, 200 - cut);
        for at in cut..200 {
            let (one, two) = (position(&*backbone, &first, at), position(&*backbone, &again, at - cut));
            assert!(one == two, "position {at} after a cut to {cut}");
        }
    }
}

#[test]
fn a_refused_batch_changes_nothing() {
    let mut backbone = backbone();
    let (sequence, _) = prefill(backbone.as_mut(), &[1, 2, 3]);
    let other = backbone.begin().unwrap();
    let good = Chunk { sequence: other, tokens: &[1] };
    let long = vec![5; 1022];
    let refused = |backbone: &mut dyn Backbone, tokens: &[u32]| {
        backbone.forward(&[good, Chunk { sequence, tokens }]).unwrap_err()
    };
    assert!(matches!(refused(&mut *backbone, &[6144]), EngineError::Token { token: 6144, .. }));
    assert!(matches!(refused(&mut *backbone, &[]), EngineError::Batch(_)));
    assert!(matches!(
        refused(&mut *backbone, &long),
        EngineError::ContextFull { wanted: 1025, context: 1024 }
    ));
    assert!(matches!(backbone.forward(&[good, good]), Err(EngineError::Batch(_))));
    assert!(matches!(backbone.truncate(sequence, 4), Err(EngineError::Batch(_))));
    assert!(matches!(backbone.head(&[0.0; 255]), Err(EngineError::Batch(_))));
    assert_eq!((backbone.len(sequence), backbone.len(other)), (3, 0));
    backbone.end(other);
    assert!(matches!(backbone.forward(&[good]), Err(EngineError::NoSequence(_))));
}

#[test]
fn the_kit_is_reproducible_and_complete() {
    let (one, two) = (bundled().unwrap(), bundled().unwrap());
    assert_eq!(one.kit.sha256, two.kit.sha256);
    let hash: String = digest(&SHA256, &one.kit.bytes).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(one.kit.sha256, hash);
    let (_, header) = SafeTensors::read_metadata(&one.kit.bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    for (key, value) in [
        ("format", "aside-kit-1"),
        ("hidden", "256"),
        ("vocab", "6144"),
        ("layer_taps", "5"),
        ("window", "512"),
        ("context", "1024"),
        ("stop", "[4]"),
        ("bos", "<|endoftext|>"),
        ("model", one.backbone.spec().id.as_str()),
    ] {
        assert_eq!(metadata[key], value, "{key}");
    }
    assert_eq!(one.backbone.spec().taps, [2, 4, 5, 6, 7]);
    let tokenizer: Tokenizer = metadata["tokenizer"].parse().unwrap();
    assert_eq!(tokenizer.token_to_id("<|end|>"), Some(4));
    assert!(metadata["chat_template"].contains("add_generation_prompt"));
}

#[test]
fn a_device_with_the_kit_computes_the_clouds_logits() {
    let mut loaded = bundled().unwrap();
    let file = SafeTensors::deserialize(&loaded.kit.bytes).unwrap();
    let head = file.tensor("head").unwrap();
    assert_eq!(head.shape(), [6144, 256 / 32 * 34]);
    let storage = QStorage::from_data(head.data().to_vec().into(), &Device::Cpu, GgmlDType::Q8_0).unwrap();
    let device = QMatMul::from_qtensor(QTensor::new(storage, (6144, 256)).unwrap()).unwrap();
    let (_, hidden) = prefill(loaded.backbone.as_mut(), &tokens(20, 1));
    let z = Tensor::from_slice(&hidden.z, (20, 256), &Device::Cpu).unwrap();
    let theirs: Vec<f32> = device.forward(&z).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(loaded.backbone.head(&hidden.z).unwrap(), theirs);
}

#[test]
fn it_answers_a_greeting_in_words() {
    let mut loaded = bundled().unwrap();
    let (_, header) = SafeTensors::read_metadata(&loaded.kit.bytes).unwrap();
    let tokenizer: Tokenizer = header.metadata().clone().unwrap()["tokenizer"].parse().unwrap();
    let prompt = tokenizer.encode("<|user|>Hi! What do you like to do?<|end|><|assistant|>", false).unwrap();
    let (sequence, hidden) = prefill(loaded.backbone.as_mut(), prompt.get_ids());
    let mut z = hidden.z[hidden.z.len() - 256..].to_vec();
    let mut answer = Vec::new();
    while answer.len() < 60 {
        let logits = loaded.backbone.head(&z).unwrap();
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32;
        if loaded.backbone.spec().stop.contains(&best) {
            break;
        }
        answer.push(best);
        z = loaded.backbone.forward(&[Chunk { sequence, tokens: &[best] }]).unwrap().remove(0).z;
    }
    let text = tokenizer.decode(&answer, true).unwrap();
    assert!(answer.len() < 60 && text.starts_with("I ") && text.is_ascii(), "{text:?}");
}
