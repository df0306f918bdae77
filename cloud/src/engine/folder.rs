//! The texts beside the weights: configuration, tokenizer, chat template, stop tokens; from a Hugging Face folder or
//! from the metadata of a packed file, which holds the same texts.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{
    EngineError, Result,
    starter::Starter,
    store::{Store, read_text},
};

/// Used where a model brings no chat template.
const PLAIN_TEMPLATE: &str = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}\
                              {% if add_generation_prompt %}assistant:{% endif %}";

/// Texts of a model.
pub(super) struct Texts {
    /// Where they came from, for errors.
    pub(super) place: PathBuf,
    pub(super) name: String,
    pub(super) config: String,
    pub(super) tokenizer: String,
    pub(super) chat_template: String,
    /// Text of the token a sequence begins with, or nothing.
    pub(super) bos: String,
    /// Token ids that end an answer, rising.
    pub(super) stop: Vec<u32>,
    /// Length the model was trained on, where that is known.
    pub(super) window: Option<usize>,
    /// What devices begin with, where the backbone was prepared.
    pub(super) starter: Option<Starter>,
}

impl Texts {
    /// From a folder.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let need = |name: &str| {
            read_text(&dir.join(name))?.ok_or_else(|| EngineError::Missing { file: dir.join(name) })
        };
        let folder = dir.canonicalize().unwrap_or_else(|_| dir.into());
        let name =
            folder.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
        let jinja = read_text(&dir.join("chat_template.jinja"))?;
        let read = |name: &str| read_text(&dir.join(name)).map(Option::unwrap_or_default);
        let (tokenizer_config, generation) =
            (read("tokenizer_config.json")?, read("generation_config.json")?);
        let (config, tokenizer) = (need("config.json")?, need("tokenizer.json")?);
        let mut texts = Self::new(dir, name, config, tokenizer, (&tokenizer_config, &generation, jinja))?;
        texts.starter = Starter::open(dir)?;
        Ok(texts)
    }

    /// From the metadata of a packed file.
    pub(super) fn packed(name: &str, store: &Store) -> Result<Self> {
        let file = Path::new(name);
        let need = |key: &str| {
            let why = || EngineError::Damaged { file: file.into(), why: format!("its metadata lack {key}") };
            store.metadata(key).map(str::to_owned).ok_or_else(why)
        };
        let (tokenizer_config, generation) = (need("tokenizer_config")?, need("generation_config")?);
        let texts = (tokenizer_config.as_str(), generation.as_str(), None);
        let mut texts = Self::new(file, need("name")?, need("config")?, need("tokenizer")?, texts)?;
        texts.window = need("window")?.parse().ok();
        Ok(texts)
    }

    fn new(
        place: &Path,
        name: String,
        config: String,
        tokenizer: String,
        (tokenizer_config, generation, jinja): (&str, &str, Option<String>),
    ) -> Result<Self> {
        let json = |text: &str, file: &str| -> Result<Value> {
            let why =
                |e: serde_json::Error| EngineError::Damaged { file: place.join(file), why: e.to_string() };
            if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(text).map_err(why) }
        };
        let settings = json(tokenizer_config, "tokenizer_config.json")?;
        let vocabulary = json(&tokenizer, "tokenizer.json")?;
        let mut stop = eos_ids(&json(generation, "generation_config.json")?);
        stop.extend(eos_ids(&json(&config, "config.json")?));
        if stop.is_empty() {
            stop.extend(token_text(&settings, "eos_token").and_then(|text| special_id(&vocabulary, &text)));
        }
        stop.sort_unstable();
        stop.dedup();
        Ok(Self {
            place: place.into(),
            name,
            config,
            tokenizer,
            chat_template: jinja.or_else(|| template(&settings)).unwrap_or_else(|| PLAIN_TEMPLATE.into()),
            bos: token_text(&settings, "bos_token").unwrap_or_default(),
            stop,
            window: None,
            starter: None,
        })
    }
}

/// `eos_token_id`: one id or several.
fn eos_ids(json: &Value) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match json.get("eos_token_id") {
        Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// A special token's text: a string, or an object with `content`.
fn token_text(settings: &Value, key: &str) -> Option<String> {
    let token = settings.get(key)?;
    token.as_str().or_else(|| token.get("content")?.as_str()).map(str::to_owned)
}

fn special_id(tokenizer: &Value, text: &str) -> Option<u32> {
    let added = tokenizer.get("added_tokens")?.as_array()?;
    let token = added.iter().find(|token| token.get("content").and_then(Value::as_str) == Some(text))?;
    u32::try_from(token.get("id")?.as_u64()?).ok()
}

/// `chat_template`: a text, or named ones of which "default" counts.
fn template(settings: &Value) -> Option<String> {
    match settings.get("chat_template")? {
        Value::Array(named) => {
            let default = |t: &&Value| t.get("name").and_then(Value::as_str) == Some("default");
            named.iter().find(default)?.get("template")?.as_str().map(str::to_owned)
        }
        text => text.as_str().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(tokenizer_config: &str, generation: &str, jinja: Option<&str>) -> Texts {
        let tokenizer = r#"{"added_tokens":[{"id":7,"content":"</s>"}]}"#;
        let rest = (tokenizer_config, generation, jinja.map(str::to_owned));
        Texts::new(Path::new("m"), "m".into(), r#"{"eos_token_id":2}"#.into(), tokenizer.into(), rest)
            .unwrap()
    }

    #[test]
    fn stop_tokens_come_from_both_files_and_the_jinja_file_wins() {
        let t = texts(
            r#"{"bos_token":{"content":"<s>"},"chat_template":"T"}"#,
            r#"{"eos_token_id":[9,2]}"#,
            Some("J"),
        );
        assert_eq!(
            (t.stop.as_slice(), t.bos.as_str(), t.chat_template.as_str()),
            ([2, 9].as_slice(), "<s>", "J")
        );
    }

    #[test]
    fn a_named_template_and_a_missing_one() {
        let named =
            r#"{"chat_template":[{"name":"tool_use","template":"A"},{"name":"default","template":"B"}]}"#;
        assert_eq!(texts(named, "", None).chat_template, "B");
        let none = texts("", "", None);
        assert_eq!((none.chat_template.as_str(), none.bos.as_str()), (PLAIN_TEMPLATE, ""));
    }

    #[test]
    fn the_end_token_of_the_tokenizer_is_the_last_resort() {
        let rest = (r#"{"eos_token":"</s>"}"#, "", None);
        let tokenizer = r#"{"added_tokens":[{"id":7,"content":"</s>"}]}"#;
        let t = Texts::new(Path::new("m"), "m".into(), "{}".into(), tokenizer.into(), rest).unwrap();
        assert_eq!(t.stop, [7]);
    }
}
