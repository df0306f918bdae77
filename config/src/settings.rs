//! The schema: every setting, its default and the values it may take.

use serde::{Deserialize, Serialize};

/// Every setting with a comment, all at their defaults and commented out. Printed by `aside config default`.
pub const DEFAULT_TEXT: &str = include_str!("default.toml");

/// Names of the five variants of the method, in the order of its comparison.
pub const VARIANTS: [&str; 5] = ["base", "lst", "full-integration", "full-separation", "spa"];

/// All settings. Load them with [`Settings::load`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How answers are sampled.
    pub chat: Chat,
    /// Where the backbone runs.
    pub cloud: Cloud,
    /// How the side network is trained.
    pub learning: Learning,
    /// What may leave this device.
    pub privacy: Privacy,
    /// How the chat looks.
    pub screen: Screen,
}

/// `[chat]`: how answers are sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chat {
    /// One of [`VARIANTS`].
    pub variant: String,
    /// 0 is greedy; at most 5.
    pub temperature: f32,
    /// Candidates kept; 0 keeps all.
    pub top_k: u32,
    /// Probability mass kept, in (0, 1].
    pub top_p: f32,
    /// Longest answer in tokens, at least 1.
    pub max_tokens: u32,
    /// Fixed seed of every answer; absent draws a new one each time.
    pub seed: Option<u64>,
    /// System message of new conversations; absent is none.
    pub system: Option<String>,
}

impl Default for Chat {
    fn default() -> Self {
        Self {
            variant: "spa".to_owned(),
            temperature: 0.7,
            top_k: 40,
            top_p: 1.0,
            max_tokens: 256,
            seed: None,
            system: None,
        }
    }
}

/// `[cloud]`: where the backbone runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cloud {
    /// `aside://HOST:PORT/KEY`; empty runs a cloud on this machine. The one-time secret never belongs here.
    pub uri: String,
    /// Folder of a Hugging Face model for the cloud on this machine; empty is the bundled backbone.
    pub model: String,
}

/// `[learning]`: how the side network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learning {
    /// Largest share of tokens that may be open, in (0, 1]; 1 sets no limit (method, section 4: calibration).
    pub budget: f32,
    /// Processor threads of the trainer, at least 1.
    pub threads: usize,
    /// Learn without being asked while the machine is idle.
    pub idle: bool,
    /// Minutes without the person after which it is idle, at least 1.
    pub idle_minutes: u64,
    /// Seconds all must be quiet before learning starts by itself.
    pub settle_seconds: u64,
    /// Limit of the cached hidden states in the vault, in MiB, at least 16; beyond it old lessons give way.
    pub cache_mib: usize,
}

impl Default for Learning {
    fn default() -> Self {
        Self { budget: 0.8, threads: 1, idle: true, idle_minutes: 5, settle_seconds: 60, cache_mib: 512 }
    }
}

/// `[privacy]`: what may leave this device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Privacy {
    /// Who evaluates the gate.
    pub gate: GatePlace,
}

/// Who evaluates the gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatePlace {
    /// The cloud gets the gate of the running conversation, and ships only open positions.
    #[default]
    Cloud,
    /// Even the gate stays here; every position is shipped.
    Device,
}

/// `[screen]`: how the chat looks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Screen {
    /// Palette.
    pub theme: Theme,
}

/// Palette of the chat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// What the terminal can do, and no colour under `NO_COLOR`.
    #[default]
    Auto,
    /// True colour for a dark background.
    Dark,
    /// True colour for a light background.
    Light,
    /// The terminal's own 16 colours.
    Ansi,
    /// No colour, only markers and attributes.
    None,
}

impl Settings {
    /// What is wrong with a value that has the right type: `(key, what)`.
    pub(crate) fn fault(&self) -> Option<(&'static str, String)> {
        let chat = &self.chat;
        let rules = [
            (
                "chat.variant",
                VARIANTS.contains(&chat.variant.as_str()),
                format!("\"{}\" is none of {}", chat.variant, VARIANTS.join(", ")),
            ),
            (
                "chat.temperature",
                (0.0..=5.0).contains(&chat.temperature),
                format!("{} is not between 0 and 5", chat.temperature),
            ),
            (
                "chat.top_p",
                chat.top_p > 0.0 && chat.top_p <= 1.0,
                format!("{} is not above 0 and at most 1", chat.top_p),
            ),
            ("chat.max_tokens", chat.max_tokens >= 1, "must be at least 1".to_owned()),
            (
                "learning.budget",
                self.learning.budget > 0.0 && self.learning.budget <= 1.0,
                format!("{} is not above 0 and at most 1", self.learning.budget),
            ),
            ("learning.threads", self.learning.threads >= 1, "must be at least 1".to_owned()),
            ("learning.settle_seconds", self.learning.settle_seconds >= 1, "must be at least 1".to_owned()),
            ("learning.cache_mib", self.learning.cache_mib >= 16, "must be at least 16".to_owned()),
            (
                "cloud.model",
                self.cloud.model.is_empty() || std::path::Path::new(&self.cloud.model).is_absolute(),
                "must be an absolute path, because the daemon runs in another folder".to_owned(),
            ),
            (
                "cloud.uri",
                !self.cloud.uri.contains('#'),
                "holds a one-time secret; use it up with `aside connect URI` instead".to_owned(),
            ),
        ];
        rules.into_iter().find(|(_, good, _)| !good).map(|(key, _, what)| (key, what))
    }
}
