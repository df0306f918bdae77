//! The decoder against Hugging Face transformers on tiny random models (`tests/fixtures/engine/make.py`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::{Path, PathBuf};

use aside_cloud::engine::{Backbone, Chunk, Decoder, Precision, load_decoder};
use safetensors::SafeTensors;

const MODELS: [&str; 7] =
    ["llama", "llama-tied-bias", "llama-linear", "llama-llama3", "qwen2", "qwen3", "mistral"];
const TOLERANCE: f32 = 1e-4;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/engine").join(name)
}

struct Reference {
    tokens: Vec<u32>,
    hidden: Vec<f32>,
    z: Vec<f32>,
    logits: Vec<f32>,
}

fn reference(name: &str) -> Reference {
    let bytes = std::fs::read(folder(name).join("reference.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |name: &str| {
        file.tensor(name).unwrap().data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let tokens = file.tensor("tokens").unwrap();
    let tokens = tokens.data().as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    Reference { tokens, hidden: values("hidden"), z: values("z"), logits: values("logits") }
}

fn decoder(name: &str) -> Decoder {
    load_decoder(&folder(name), Precision::F32).unwrap().0
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The reference's hidden states of the tapped layers, taps of a position side by side.
fn tapped(reference: &Reference, decoder: &Decoder) -> Vec<f32> {
    let (h, n) = (decoder.spec().hidden, reference.tokens.len());
    let row = |layer: usize, position: usize| {
        let from = ((layer - 1) * n + position) * h;
        &reference.hidden[from..from + h]
    };
    (0..n).flat_map(|p| decoder.spec().taps.iter().flat_map(move |layer| row(*layer, p))).copied().collect()
}

#[test]
fn logits_taps_and_z_are_those_of_transformers() {
    for name in MODELS {
        let (reference, mut decoder) = (reference(name), decoder(name));
        let sequence = decoder.begin().unwrap();
        let hidden = decoder.forward(&[Chunk { sequence, tokens: &reference.tokens }]).unwrap().remove(0);
        let logits = decoder.exact_logits(&hidden.z).unwrap().unwrap();
        let errors = [
            worst(&hidden.taps, &tapped(&reference, &decoder)),
            worst(&hidden.z, &reference.z),
            worst(&logits, &reference.logits),
        ];
        assert!(errors.iter().all(|error| *error < TOLERANCE), "{name}: {errors:?}");
    }
}

#[test]
fn the_kits_head_is_near_the_exact_one() {
    for name in MODELS {
        let (reference, decoder) = (reference(name), decoder(name));
        let error = worst(&decoder.head(&reference.z).unwrap(), &reference.logits);
        assert!(error < 0.15, "{name}: {error}");
    }
}

#[test]
fn both_versions_of_the_configuration_are_one_model() {
    for name in ["llama-linear", "llama-llama3"] {
        let copy = tempfile::tempdir().unwrap();
        for file in ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
        {
            std::fs::copy(folder(name).join(file), copy.path().join(file)).unwrap();
        }
        std::fs::copy(folder(name).join("config.4.json"), copy.path().join("config.json")).unwrap();
        let (older, _) = load_decoder(copy.path(), Precision::F32).unwrap();
        assert_eq!(older.spec().id, decoder(name).spec().id, "{name}");
    }
}

#[test]
fn steps_and_ragged_batches_give_the_bits_of_one_prefill() {
    for name in MODELS {
        let (tokens, mut decoder) = (reference(name).tokens, decoder(name));
        let [whole, stepped, ragged] = [(); 3].map(|()| decoder.begin().unwrap());
        let all = decoder.forward(&[Chunk { sequence: whole, tokens: &tokens }]).unwrap().remove(0);
        let mut z = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            let mut batch = vec![Chunk { sequence: stepped, tokens: std::slice::from_ref(token) }];
            if at == 3 {
                batch.push(Chunk { sequence: ragged, tokens: &tokens[..9] });
            }
            z.extend(decoder.forward(&batch).unwrap().remove(0).z);
        }
        assert_eq!(all.z, z, "{name}");
        let rest = decoder.forward(&[Chunk { sequence: ragged, tokens: &tokens[9..] }]).unwrap().remove(0);
        assert_eq!(all.z[9 * decoder.spec().hidden..], rest.z, "{name}");
    }
}

#[test]
fn spec_names_shape_taps_and_stop() {
    let (decoder, kit) = load_decoder(&folder("qwen2"), Precision::Q8_0).unwrap();
    let spec = decoder.spec();
    assert_eq!((spec.hidden, spec.vocab, spec.layers, spec.context, spec.window), (32, 48, 3, 128, 128));
    assert_eq!((spec.taps.as_slice(), spec.stop.as_slice()), ([1, 2].as_slice(), [1].as_slice()));
    assert_eq!((spec.name.as_str(), spec.id.len(), kit.sha256.len()), ("qwen2", 64, 64));
    let tensors: u64 = (2 * 48 * 32) + 32 + 3 * (2 * 32 + 32 * (64 + 32) + 64 + 3 * 32 * 40);
    assert_eq!(spec.parameters, tensors);
}
