//! Layered loading: defaults < file < `ASIDE_*` < flags. An unknown key is an error that names key and source.

use std::path::{Path, PathBuf};

use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Value};
use figment::{Figment, Provider, Source};
use serde::Serialize;

use crate::{Paths, Settings};

const PREFIX: &str = "ASIDE_";

/// The place that [`LoadError`] names for values from [`Overrides`].
pub const FLAGS: &str = "the flags";

/// Values from flags, above every other layer.
#[derive(Clone, Debug, Default)]
pub struct Overrides(Vec<(&'static str, Value)>);

impl Overrides {
    /// Sets `section.key` when `value` is there.
    #[must_use]
    pub fn set(mut self, key: &'static str, value: Option<impl Serialize>) -> Self {
        if let Some(value) = value.and_then(|value| Value::serialize(value).ok()) {
            self.0.push((key, value));
        }
        self
    }
}

/// Why the settings do not load. The message names the key and where it stands.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A key the schema does not have.
    #[error("unknown key `{key}` in {place}")]
    UnknownKey {
        /// `section.key`, or the section.
        key: String,
        /// The file or the environment variable.
        place: String,
    },
    /// A value of a wrong type or out of range.
    #[error("`{key}` in {place}: {what}")]
    BadValue {
        /// `section.key`.
        key: String,
        /// The file, the environment, or a flag.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {cause}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{} is not valid TOML: {what}", file.display())]
    NotToml {
        /// The file.
        file: PathBuf,
        /// Line and cause.
        what: String,
    },
}

impl Settings {
    /// Loads all layers; a missing file is an empty one.
    ///
    /// # Errors
    /// [`LoadError`] names the key and the file, environment variable or flag it stands in.
    pub fn load(paths: &Paths, overrides: &Overrides) -> Result<Self, LoadError> {
        let text = match std::fs::read_to_string(&paths.config_file) {
            Ok(text) => text,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(cause) => return Err(LoadError::Unreadable { file: paths.config_file.clone(), cause }),
        };
        Self::layered(&paths.config_file, &text, &environment(), overrides)
    }

    /// The pure part of [`Settings::load`]: `text` is what `file` holds.
    pub(crate) fn layered(
        file: &Path,
        text: &str,
        env: &Dict,
        overrides: &Overrides,
    ) -> Result<Self, LoadError> {
        let written = dict(&Toml::string(text))
            .map_err(|error| LoadError::NotToml { file: file.to_owned(), what: error.to_string() })?;
        let in_file = file.display().to_string();
        known(&written, |_| in_file.clone())?;
        known(env, variable)?;
        let mut all = Figment::from(Serialized::defaults(Self::default()))
            .merge(Layer { name: in_file, values: written })
            .merge(Layer { name: "the environment".to_owned(), values: env.clone() });
        for (key, value) in &overrides.0 {
            all = all.merge(Serialized::default(key, value));
        }
        let place = |key: &str| match all.find_metadata(key) {
            Some(meta) if meta.name == "the environment" => variable(key),
            Some(meta) if matches!(meta.source, Some(Source::Code(_))) => FLAGS.to_owned(),
            Some(meta) => meta.name.to_string(),
            None => "the defaults".to_owned(),
        };
        let settings: Self = all.extract().map_err(|error| {
            let key = error.path.join(".");
            LoadError::BadValue { place: place(&key), what: error.kind.to_string(), key }
        })?;
        match settings.fault() {
            Some((key, what)) => Err(LoadError::BadValue { key: key.to_owned(), place: place(key), what }),
            None => Ok(settings),
        }
    }
}

/// One layer under a name that error messages show.
struct Layer {
    name: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<figment::value::Map<figment::Profile, Dict>, figment::Error> {
        Ok(figment::Profile::Default.collect(self.values.clone()))
    }
}

/// `ASIDE_CHAT_MAX_TOKENS` is `chat.max_tokens`. Variables outside the sections (`ASIDE_HOME`) are not settings.
fn environment() -> Dict {
    let sections = schema();
    let variables = Env::prefixed(PREFIX).filter_map(move |key| {
        let lower = key.as_str().to_ascii_lowercase();
        let (section, rest) = lower.split_once('_')?;
        sections.contains_key(section).then(|| format!("{section}.{rest}").into())
    });
    dict(&variables).unwrap_or_default()
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}

fn dict(provider: &dyn Provider) -> Result<Dict, Box<figment::Error>> {
    Ok(provider.data().map_err(Box::new)?.into_values().next().unwrap_or_default())
}

/// The default settings as a dictionary: sections, and in each its keys.
fn schema() -> Dict {
    dict(&Serialized::defaults(Settings::default())).unwrap_or_default()
}

fn known(layer: &Dict, place: impl Fn(&str) -> String) -> Result<(), LoadError> {
    let schema = schema();
    for (section, value) in layer {
        let Some(keys) = schema.get(section).and_then(Value::as_dict) else {
            return Err(LoadError::UnknownKey { key: section.clone(), place: place(section) });
        };
        let Some(values) = value.as_dict() else {
            let what = format!("is a section: write [{section}] and its keys below");
            return Err(LoadError::BadValue { key: section.clone(), place: place(section), what });
        };
        if let Some(key) = values.keys().find(|key| !keys.contains_key(*key)) {
            let key = format!("{section}.{key}");
            return Err(LoadError::UnknownKey { place: place(&key), key });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
