//! The chat template: Jinja as Hugging Face models ship it. Contents are replaced by marks, so that what comes out is
//! the template's own text with places for the messages.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, context};

use super::KitError;

/// Private-use characters around the number of a message.
const OPEN: char = '\u{E000}';
const CLOSE: char = '\u{E001}';

/// A piece of a rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// The template's own text; special tokens in it count.
    Frame(String),
    /// The content of the message of this number; nothing in it is special.
    Content(usize),
}

/// A parsed template.
pub(super) struct Template {
    environment: Environment<'static>,
    bos: String,
    trims: bool,
}

impl Template {
    pub(super) fn new(source: String, bos: String) -> Result<Self, KitError> {
        let mut environment = Environment::new();
        // As Hugging Face renders templates.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| KitError::Template(plain(&error)))?);
        environment.set_unknown_method_callback(python_method);
        environment.add_function("raise_exception", |why: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, why))
        });
        environment
            .add_template_owned("chat", source)
            .map_err(|error| KitError::Damaged(format!("chat template: {}", plain(&error))))?;
        let mut template = Self { environment, bos, trims: false };
        let probe = |content: &str| template.text(&[("user", content.to_owned())], false);
        let bare = format!("{OPEN}0{CLOSE}");
        // A template that strips contents cannot strip a mark: then it is done where the mark is filled in.
        template.trims = match (probe(&bare), probe(&format!(" {bare} "))) {
            (Ok(bare), Ok(padded)) => bare == padded,
            _ => false,
        };
        Ok(template)
    }

    /// Whether the template strips white space around contents.
    pub(super) fn trims(&self) -> bool {
        self.trims
    }

    /// The pieces of a conversation with these roles; `reply` ends it where the model's answer begins.
    pub(super) fn render(&self, roles: &[&str], reply: bool) -> Result<Vec<Piece>, KitError> {
        let messages: Vec<(&str, String)> =
            roles.iter().enumerate().map(|(i, role)| (*role, format!("{OPEN}{i}{CLOSE}"))).collect();
        let text = self.text(&messages, reply).map_err(|error| KitError::Template(plain(&error)))?;
        Ok(pieces(&text))
    }

    fn text(&self, messages: &[(&str, String)], reply: bool) -> Result<String, Error> {
        let messages: Vec<Value> =
            messages.iter().map(|(role, content)| context! { role => *role, content }).collect();
        self.environment.get_template("chat")?.render(context! {
            messages,
            add_generation_prompt => reply,
            bos_token => self.bos.as_str(),
            eos_token => "",
        })
    }
}

/// Splits at the marks.
fn pieces(text: &str) -> Vec<Piece> {
    let mut out = Vec::new();
    let mut frame = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        frame.push_str(before);
        let mark = after.split_once(CLOSE).and_then(|(number, tail)| Some((number.parse().ok()?, tail)));
        let Some((number, tail)) = mark else {
            frame.push(OPEN);
            rest = after;
            continue;
        };
        if !frame.is_empty() {
            out.push(Piece::Frame(std::mem::take(&mut frame)));
        }
        out.push(Piece::Content(number));
        rest = tail;
    }
    frame.push_str(rest);
    if !frame.is_empty() {
        out.push(Piece::Frame(frame));
    }
    out
}

/// The cause without the template's source, which an error of minijinja may quote.
fn plain(error: &Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

/// The methods of Python's strings and dictionaries that published templates call.
fn python_method(_: &mut State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let unknown = || Error::from(ErrorKind::UnknownMethod);
    if value.kind() == ValueKind::Map {
        return match method {
            "get" => {
                let (key, default): (Value, Option<Value>) = from_args(args)?;
                let found = value.get_item(&key)?;
                Ok(if found.is_undefined() { default.unwrap_or(Value::from(())) } else { found })
            }
            "keys" => Ok(Value::from_iter(value.try_iter()?)),
            "items" => {
                let keys: Vec<Value> = value.try_iter()?.collect();
                let pair = |key: Value| Ok(Value::from(vec![key.clone(), value.get_item(&key)?]));
                Ok(Value::from(keys.into_iter().map(pair).collect::<Result<Vec<_>, Error>>()?))
            }
            _ => Err(unknown()),
        };
    }
    let text = value.as_str().ok_or_else(unknown)?;
    let first = args.first().and_then(Value::as_str);
    Ok(match (method, first) {
        ("strip", None) => text.trim().into(),
        ("lstrip", None) => text.trim_start().into(),
        ("rstrip", None) => text.trim_end().into(),
        ("strip", Some(set)) => text.trim_matches(|c| set.contains(c)).into(),
        ("lstrip", Some(set)) => text.trim_start_matches(|c| set.contains(c)).into(),
        ("rstrip", Some(set)) => text.trim_end_matches(|c| set.contains(c)).into(),
        ("startswith", Some(start)) => text.starts_with(start).into(),
        ("endswith", Some(end)) => text.ends_with(end).into(),
        ("split", Some(at)) => text.split(at).map(Value::from).collect(),
        ("split", None) => text.split_whitespace().map(Value::from).collect(),
        ("upper", _) => text.to_uppercase().into(),
        ("lower", _) => text.to_lowercase().into(),
        ("replace", Some(from)) => {
            let to = args.get(1).and_then(Value::as_str).ok_or_else(unknown)?;
            text.replace(from, to).into()
        }
        _ => return Err(unknown()),
    })
}
