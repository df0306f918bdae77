//! `config.json` of a Hugging Face folder, as transformers 4 and 5 write it, reduced to what the decoder computes.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::{EngineError, Result, q8_0::GROUP, rope::Scaling};

/// The decoder's shape. Serialised, it is the canonical configuration that a model's id covers: the same model gives
/// the same text whichever version of transformers wrote it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Config {
    pub(super) hidden: usize,
    pub(super) inner: usize,
    pub(super) layers: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) head_dim: usize,
    pub(super) vocab: usize,
    pub(super) context: usize,
    pub(super) epsilon: f64,
    pub(super) theta: f64,
    pub(super) scaling: Scaling,
    pub(super) tied: bool,
    /// Bias on the query, key and value projections.
    pub(super) qkv_bias: bool,
    /// Bias on the attention's output projection.
    pub(super) out_bias: bool,
    /// Bias on the three projections of the feed-forward part.
    pub(super) mlp_bias: bool,
    /// A norm per query and key head before the rotation.
    pub(super) head_norm: bool,
    /// Sliding window of each layer.
    pub(super) windows: Vec<Option<usize>>,
}

impl Config {
    /// Reads the text of `file`, which is named in errors.
    pub(super) fn parse(text: &str, file: &Path) -> Result<Self> {
        let json = serde_json::from_str(text)
            .map_err(|e| EngineError::Damaged { file: file.into(), why: e.to_string() })?;
        Reader { json: &json, file }.config()
    }
}

struct Reader<'a> {
    json: &'a Value,
    file: &'a Path,
}

impl Reader<'_> {
    fn config(&self) -> Result<Config> {
        let kind = self.json.get("model_type").and_then(Value::as_str).unwrap_or("");
        if !matches!(kind, "llama" | "mistral" | "qwen2" | "qwen3") {
            return Err(self.unsupported(format!(
                "model_type {kind:?}; it runs llama (also SmolLM), mistral, qwen2 and qwen3"
            )));
        }
        let (qwen2, hidden, queries) =
            (kind == "qwen2", self.size("hidden_size")?, self.size("num_attention_heads")?);
        let bias = !qwen2 && self.flag("attention_bias");
        let layers = self.size("num_hidden_layers")?;
        let (theta, scaling) = self.rope()?;
        let config = Config {
            hidden,
            inner: self.size("intermediate_size")?,
            layers,
            queries,
            keys: self.size_or("num_key_value_heads", queries)?,
            head_dim: self.size_or("head_dim", hidden / queries)?,
            vocab: self.size("vocab_size")?,
            context: self.size("max_position_embeddings")?,
            epsilon: self.number("rms_norm_eps", 1e-6),
            theta,
            scaling,
            tied: self.flag("tie_word_embeddings"),
            qkv_bias: qwen2 || bias,
            out_bias: bias,
            mlp_bias: self.flag("mlp_bias"),
            head_norm: kind == "qwen3",
            windows: self.windows(kind, layers)?,
        };
        self.check(&config)?;
        Ok(config)
    }

    fn check(&self, config: &Config) -> Result<()> {
        let act = self.json.get("hidden_act").and_then(Value::as_str).unwrap_or("silu");
        let refused = if act != "silu" {
            format!("hidden_act {act:?}; it computes silu")
        } else if !config.hidden.is_multiple_of(GROUP) {
            format!("hidden_size {}; states travel in groups of {GROUP}", config.hidden)
        } else if !config.queries.is_multiple_of(config.keys) {
            format!("{} attention heads over {} key/value heads", config.queries, config.keys)
        } else if !config.head_dim.is_multiple_of(2) {
            format!("head_dim {}; a rotation needs pairs", config.head_dim)
        } else {
            return Ok(());
        };
        Err(self.unsupported(refused))
    }

    /// `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (transformers 4).
    fn rope(&self) -> Result<(f64, Scaling)> {
        let table = ["rope_parameters", "rope_scaling"]
            .iter()
            .find_map(|key| self.json.get(*key).filter(|table| table.is_object()));
        let inside = |key: &str| table.and_then(|table| table.get(key)).and_then(Value::as_f64);
        let theta = inside("rope_theta").unwrap_or_else(|| self.number("rope_theta", 10_000.0));
        let partial = inside("partial_rotary_factor").unwrap_or(self.number("partial_rotary_factor", 1.0));
        if partial != 1.0 {
            return Err(self.unsupported(format!("partial_rotary_factor {partial}")));
        }
        let Some(table) = table else { return Ok((theta, Scaling::None)) };
        let kind = table.get("rope_type").or_else(|| table.get("type"));
        let need = |key: &str| {
            let missing =
                || EngineError::Damaged { file: self.file.into(), why: format!("{key} of rope is missing") };
            inside(key).filter(|v| *v > 0.0).ok_or_else(missing)
        };
        let scaling = match kind.and_then(Value::as_str) {
            Some("default") => Scaling::None,
            Some("linear") => Scaling::Linear { factor: need("factor")? },
            Some("llama3") => Scaling::Llama3 {
                factor: need("factor")?,
                low: need("low_freq_factor")?,
                high: need("high_freq_factor")?,
                original: need("original_max_position_embeddings")?,
            },
            other => {
                return Err(
                    self.unsupported(format!("rope type {other:?}; it computes default, linear and llama3"))
                );
            }
        };
        Ok((theta, scaling))
    }

    /// Which layers look back only so far: `layer_types` where it is written, the older switches otherwise.
    fn windows(&self, kind: &str, layers: usize) -> Result<Vec<Option<usize>>> {
        let used = kind == "mistral" || (kind != "llama" && self.flag("use_sliding_window"));
        let missing =
            if kind == "mistral" && self.json.get("sliding_window").is_none() { Some(4096) } else { None };
        let window = self.json.get("sliding_window").and_then(Value::as_u64).map(|w| w as usize).or(missing);
        let Some(window) = window.filter(|_| used) else { return Ok(vec![None; layers]) };
        let full_below = if kind == "mistral" { 0 } else { self.size_or("max_window_layers", layers)? };
        let types = self.json.get("layer_types").and_then(Value::as_array);
        let slides = |layer: usize| match types.and_then(|types| types.get(layer)).and_then(Value::as_str) {
            Some(name) => name == "sliding_attention",
            None => layer >= full_below,
        };
        Ok((0..layers).map(|layer| slides(layer).then_some(window)).collect())
    }

    fn size(&self, key: &str) -> Result<usize> {
        let missing =
            || EngineError::Damaged { file: self.file.into(), why: format!("{key} is missing or no size") };
        let value = self.json.get(key).and_then(Value::as_u64).ok_or_else(missing)?;
        // A bound that no model reaches keeps products of two sizes from overflowing.
        usize::try_from(value).ok().filter(|v| (1..1 << 30).contains(v)).ok_or_else(missing)
    }

    fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        match self.json.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(_) => self.size(key),
        }
    }

    fn number(&self, key: &str, default: f64) -> f64 {
        self.json.get(key).and_then(Value::as_f64).unwrap_or(default)
    }

    fn flag(&self, key: &str) -> bool {
        self.json.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    fn unsupported(&self, why: String) -> EngineError {
        EngineError::Unsupported { file: self.file.into(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#""model_type":"llama","hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,
        "num_attention_heads":4,"vocab_size":100,"max_position_embeddings":128,"rms_norm_eps":1e-5"#;

    fn parse(extra: &str) -> Result<Config> {
        Config::parse(&format!("{{{SMALL}{extra}}}"), Path::new("config.json"))
    }

    #[test]
    fn both_ways_of_writing_the_rotation_are_one_configuration() {
        let four = parse(r#","rope_theta":500000.0,"rope_scaling":{"type":"linear","factor":4.0}"#).unwrap();
        let five = parse(
            r#","rope_parameters":{"rope_theta":500000.0,"rope_type":"linear","factor":4.0},"head_dim":16"#,
        );
        assert_eq!(four, five.unwrap());
        assert_eq!(four.theta, 500_000.0);
        assert_eq!(parse("").unwrap().scaling, Scaling::None);
    }

    #[test]
    fn what_it_does_not_compute_is_refused_with_the_reason() {
        for (extra, word) in [
            (r#","model_type":"gemma3""#, "gemma3"),
            (r#","hidden_act":"gelu""#, "gelu"),
            (r#","rope_scaling":{"rope_type":"yarn","factor":4.0}"#, "yarn"),
            (r#","rope_scaling":{"rope_type":"llama3","factor":4.0}"#, "low_freq_factor"),
            (r#","hidden_size":40"#, "groups of 32"),
            (r#","num_attention_heads":0"#, "num_attention_heads"),
            (r#","num_key_value_heads":3"#, "3 key/value heads"),
        ] {
            let why = parse(extra).unwrap_err().to_string();
            assert!(why.contains(word) && why.contains("config.json"), "{why}");
        }
        assert!(
            Config::parse("{", Path::new("x/config.json")).unwrap_err().to_string().contains("x/config.json")
        );
    }

    #[test]
    fn sliding_windows_follow_the_kind() {
        let mistral = parse(r#","model_type":"mistral","sliding_window":8"#).unwrap();
        assert_eq!(mistral.windows, [Some(8), Some(8)]);
        let off = r#","model_type":"qwen2","sliding_window":8,"use_sliding_window":false"#;
        assert_eq!(parse(off).unwrap().windows, [None, None]);
        let upper =
            r#","model_type":"qwen2","sliding_window":8,"use_sliding_window":true,"max_window_layers":1"#;
        assert_eq!(parse(upper).unwrap().windows, [None, Some(8)]);
    }
}
