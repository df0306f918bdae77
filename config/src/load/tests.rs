//! Layering, unknown keys, bad values, and the commented default.

use super::*;
use crate::Chat;

fn env(pairs: &[(&str, &str)]) -> Dict {
    let mut all = Dict::new();
    for (key, value) in pairs {
        let (section, rest) = key.split_once('.').unwrap();
        let value: Value = value.parse().unwrap();
        let entry = all.entry(section.to_owned()).or_insert_with(|| Value::from(Dict::new()));
        let mut inner = entry.as_dict().unwrap().clone();
        inner.insert(rest.to_owned(), value);
        *entry = Value::from(inner);
    }
    all
}

fn load(text: &str, pairs: &[(&str, &str)], overrides: &Overrides) -> Result<Settings, LoadError> {
    Settings::layered(Path::new("/c/config.toml"), text, &env(pairs), overrides)
}

#[test]
fn each_layer_wins_over_the_one_below() {
    let text = "[chat]\ntemperature = 0.1\ntop_k = 1\nmax_tokens = 11\n";
    let pairs = [("chat.top_k", "2"), ("chat.max_tokens", "12")];
    let flags = Overrides::default().set("chat.max_tokens", Some(13_u32)).set("chat.seed", None::<u64>);
    let chat = load(text, &pairs, &flags).unwrap().chat;
    assert_eq!((chat.temperature, chat.top_k, chat.max_tokens, chat.seed), (0.1, 2, 13, None));
    assert_eq!(chat.top_p, Chat::default().top_p);
}

#[test]
fn optional_keys_can_be_set_in_each_layer() {
    let text = "[chat]\nseed = 3\nsystem = \"be kind\"\n";
    let chat = load(text, &[("chat.seed", "4")], &Overrides::default()).unwrap().chat;
    assert_eq!((chat.seed, chat.system.as_deref()), (Some(4), Some("be kind")));
}

#[test]
fn unknown_keys_name_key_and_place() {
    let none = Overrides::default();
    let error = load("[chat]\ntemprature = 1\n", &[], &none).unwrap_err().to_string();
    assert_eq!(error, "unknown key `chat.temprature` in /c/config.toml");
    let error = load("[caht]\n", &[], &none).unwrap_err().to_string();
    assert_eq!(error, "unknown key `caht` in /c/config.toml");
    let error = load("", &[("chat.tempo", "1")], &none).unwrap_err().to_string();
    assert_eq!(error, "unknown key `chat.tempo` in ASIDE_CHAT_TEMPO");
}

#[test]
fn bad_values_name_key_and_place() {
    let none = Overrides::default();
    let error = load("[chat]\ntop_k = \"many\"\n", &[], &none).unwrap_err().to_string();
    assert!(error.starts_with("`chat.top_k` in /c/config.toml: "), "{error}");
    let error = load("[privacy]\ngate = \"moon\"\n", &[], &none).unwrap_err().to_string();
    assert!(error.contains("`privacy.gate` in /c/config.toml") && error.contains("moon"), "{error}");
    let error = load("", &[("chat.top_p", "1.5")], &none).unwrap_err().to_string();
    assert_eq!(error, "`chat.top_p` in ASIDE_CHAT_TOP_P: 1.5 is not above 0 and at most 1");
    let flags = Overrides::default().set("chat.variant", Some("spb"));
    let error = load("", &[], &flags).unwrap_err().to_string();
    assert!(error.starts_with("`chat.variant` in the flags: \"spb\" is none of base, lst"), "{error}");
    let error = load("chat = 1\n", &[], &none).unwrap_err().to_string();
    assert!(error.contains("is a section"), "{error}");
}

#[test]
fn broken_toml_names_the_file() {
    let error = load("[chat\n", &[], &Overrides::default()).unwrap_err();
    assert!(matches!(&error, LoadError::NotToml { .. }) && error.to_string().contains("/c/config.toml"));
}

#[test]
fn the_commented_default_is_the_default_and_names_every_key() {
    let none = Overrides::default();
    assert_eq!(load(crate::DEFAULT_TEXT, &[], &none).unwrap(), Settings::default());
    let live: String = crate::DEFAULT_TEXT
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_eq!(load(&live, &[], &none).unwrap(), Settings::default());
    let written = dict(&Toml::string(&live)).unwrap();
    for (section, keys) in schema() {
        let values = written[&section].as_dict().unwrap();
        for key in keys.as_dict().unwrap().keys() {
            let example = crate::DEFAULT_TEXT.contains(&format!("for example: {key} = "));
            assert!(values.contains_key(key) || example, "{section}.{key} is not in the default text");
        }
    }
}
