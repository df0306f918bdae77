//! Puts a decoder together from its texts and weights.

use std::sync::Arc;

use aside_cloud_api::codec::Layout;

use super::{
    Kit, Precision, Result, Spec,
    attention::Heads,
    config::Config,
    decoder::{Decoder, Table},
    folder::Texts,
    layer::{Layer, Norm},
    linear::{Linear, Raw},
    q8_0,
    rope::Rope,
    spec::tap_layers,
    store::Store,
};

/// Learning's window where a model does not say what it was trained on.
const USUAL_WINDOW: usize = 2048;

/// Builds the decoder and its kit.
pub(super) fn build(texts: &Texts, store: Store, precision: Precision) -> Result<(Decoder, Kit)> {
    let config = Config::parse(&texts.config, &texts.place.join("config.json"))?;
    let mut builder = Builder { store, precision, config: &config };
    builder.store.digest(serde_json::json!(config).to_string().as_bytes());
    let embedding = builder.store.matrix("model.embed_tokens.weight", config.vocab, config.hidden)?;
    let layers = (0..config.layers).map(|index| builder.layer(index)).collect::<Result<_>>()?;
    let norm = builder.norm("model.norm.weight", config.hidden)?;
    let own_head = if config.tied {
        None
    } else {
        Some(builder.store.matrix("lm_head.weight", config.vocab, config.hidden)?)
    };
    let (id, parameters) = builder.store.finish();
    if let Some(starter) = &texts.starter {
        starter.check(&id)?;
    }
    let spec = spec(&config, texts, id, parameters);
    let (kit, heads) = heads(&spec, texts, precision, embedding, own_head)?;
    let rope = Rope::new(config.head_dim, config.theta, &config.scaling);
    let decoder = Decoder {
        spec,
        table: heads.table,
        layers,
        norm,
        head: heads.kit,
        exact_head: heads.exact,
        rope,
        sequences: Default::default(),
        next: 0,
    };
    Ok((decoder, kit))
}

fn spec(config: &Config, texts: &Texts, id: String, parameters: u64) -> Spec {
    let taps = tap_layers(config.layers);
    Spec {
        id,
        name: texts.name.clone(),
        hidden: config.hidden,
        vocab: config.vocab,
        layers: config.layers,
        layout: Layout { hidden: config.hidden, layer_taps: taps.len() },
        taps,
        context: config.context,
        window: texts.window.unwrap_or(USUAL_WINDOW).min(config.context),
        parameters,
        stop: texts.stop.clone(),
    }
}

struct Ends {
    table: Table,
    kit: Linear,
    exact: Option<Linear>,
}

/// Both ends of the decoder, which may be one matrix: embedding table, kit head, and in f32 the head as it is. Blocks
/// of a tied table are shared with the kit's bytes.
fn heads(
    spec: &Spec,
    texts: &Texts,
    precision: Precision,
    embedding: Raw,
    own_head: Option<Raw>,
) -> Result<(Kit, Ends)> {
    let (n, k) = (spec.vocab, spec.hidden);
    let tied = own_head.is_none();
    let blocks = own_head.as_ref().unwrap_or(&embedding).clone().into_q8_0(k)?;
    let (kit, place) = Kit::build(spec, texts, &blocks);
    let quick = precision == Precision::Q8_0 && q8_0::is_fast(n, k);
    let table = if quick && tied {
        Table::Blocks(kit.bytes.clone(), place.start)
    } else if quick {
        Table::Blocks(embedding.into_q8_0(k)?.into(), 0)
    } else {
        Table::Values(Arc::new(embedding.into_f32()))
    };
    let exact = match (precision, own_head, &table) {
        (Precision::F32, Some(head), _) => Some(Linear::from_f32(head.into_f32(), n, k)),
        (Precision::F32, None, Table::Values(values)) => Some(Linear::from_f32(values.clone(), n, k)),
        _ => None,
    };
    Ok((kit, Ends { table, kit: Linear::from_q8_0(blocks, n, k)?, exact }))
}

struct Builder<'a> {
    store: Store,
    precision: Precision,
    config: &'a Config,
}

impl Builder<'_> {
    fn layer(&mut self, index: usize) -> Result<Layer> {
        let c = self.config;
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let attention = |part: &str| name(&format!("self_attn.{part}_proj"));
        let mlp = |part: &str| name(&format!("mlp.{part}_proj"));
        let window = c.windows.get(index).copied().flatten();
        let heads = Heads { queries: c.queries, keys: c.keys, dim: c.head_dim, window };
        let (q, k) = (heads.query_width(), heads.key_width());
        let qkv = [(attention("q"), q), (attention("k"), k), (attention("v"), k)];
        let gate_up = [(mlp("gate"), c.inner), (mlp("up"), c.inner)];
        Ok(Layer {
            attention_norm: self.norm(&name("input_layernorm.weight"), c.hidden)?,
            qkv: self.linear(&qkv, c.hidden, c.qkv_bias)?,
            head_norms: if c.head_norm { Some(self.head_norms(&name("self_attn"))?) } else { None },
            out: self.linear(&[(attention("o"), c.hidden)], q, c.out_bias)?,
            mlp_norm: self.norm(&name("post_attention_layernorm.weight"), c.hidden)?,
            gate_up: self.linear(&gate_up, c.hidden, c.mlp_bias)?,
            down: self.linear(&[(mlp("down"), c.hidden)], c.inner, c.mlp_bias)?,
            heads,
        })
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<Norm> {
        Ok(Norm { weight: self.store.vector(name, width)?, epsilon: self.config.epsilon as f32 })
    }

    fn head_norms(&mut self, name: &str) -> Result<(Norm, Norm)> {
        let dim = self.config.head_dim;
        Ok((
            self.norm(&format!("{name}.q_norm.weight"), dim)?,
            self.norm(&format!("{name}.k_norm.weight"), dim)?,
        ))
    }

    /// Matrices of equal width, stacked into one: (name, rows) each.
    fn linear(&mut self, parts: &[(String, usize)], k: usize, bias: bool) -> Result<Linear> {
        let n = parts.iter().map(|(_, rows)| rows).sum();
        let quick = self.precision == Precision::Q8_0 && q8_0::is_fast(n, k);
        let (mut blocks, mut values, mut biases) = (Vec::new(), Vec::new(), Vec::new());
        for (name, rows) in parts {
            let raw = self.store.matrix(&format!("{name}.weight"), *rows, k)?;
            if quick {
                blocks.extend(raw.into_q8_0(k)?);
            } else {
                values.extend(raw.into_f32());
            }
            if bias {
                biases.extend(self.store.vector(&format!("{name}.bias"), *rows)?);
            }
        }
        let linear = if quick { Linear::from_q8_0(blocks, n, k)? } else { Linear::from_f32(values, n, k) };
        Ok(linear.with_bias(bias.then_some(biases)))
    }
}
