//! Passphrases: from the file that `ASIDE_PASSPHRASE_FILE` names, or typed without echo.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use aside_daemon_api::fault::{Fault, codes};
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, read};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};

use super::exit::Failure;
use super::output;

const VARIABLE: &str = "ASIDE_PASSPHRASE_FILE";

/// The passphrase in the file that the environment names, if it names one.
pub(crate) fn from_file() -> Result<Option<String>, Failure> {
    let Some(path) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from) else {
        return Ok(None);
    };
    in_file(&path, VARIABLE).map(Some)
}

/// The one line of a file; `named` is what named it.
fn in_file(path: &Path, named: &str) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|cause| {
        let message = format!("cannot read the passphrase in {} ({named}): {cause}", path.display());
        Fault::new(codes::LOCKED, message)
    })?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        let message = format!("{} ({named}) holds no passphrase", path.display());
        return Err(Fault::new(codes::LOCKED, message).into());
    }
    Ok(text.to_owned())
}

/// The passphrase of a sealed file: from `file`, or asked for, twice when it seals.
pub(crate) fn passphrase(file: Option<&Path>, seals: bool) -> Result<String, Failure> {
    const OPTION: &str = "--passphrase-file";
    if let Some(file) = file {
        return in_file(file, OPTION);
    }
    if !can_ask() {
        let fault =
            Fault::new(codes::BAD_REQUEST, "a sealed file needs a passphrase, and there is no terminal");
        return Err(fault.repair("aside adapter export FILE --passphrase-file FILE").into());
    }
    tokio::task::block_in_place(|| {
        let first = ask("Passphrase of the file: ")?;
        if seals && ask("Once more: ")? != first {
            return Err(Fault::new(codes::BAD_REQUEST, "the two are not the same").into());
        }
        Ok(first)
    })
}

/// Whether a person can be asked: stderr shows the question, and there is a terminal to type in.
pub(crate) fn can_ask() -> bool {
    io::stderr().is_terminal() && std::fs::File::open("/dev/tty").is_ok()
}

/// Asks without echo. Blocks; call it inside `block_in_place`.
pub(crate) fn ask(question: &str) -> Result<String, Failure> {
    output::prompt(question)?;
    let answer = {
        let _raw = Raw::enter()?;
        typed(|| {
            loop {
                if let Event::Key(key) = read()? {
                    return Ok(key);
                }
            }
        })
    };
    output::notice("");
    answer?.ok_or(Failure::Interrupted)
}

/// Raw mode as long as it lives, so that Ctrl+C is a key and the terminal never stays without echo.
struct Raw;

impl Raw {
    fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        Ok(Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = disable_raw_mode();
    }
}

/// What was typed until Enter; none after Ctrl+C or Ctrl+D.
fn typed(mut next: impl FnMut() -> io::Result<KeyEvent>) -> io::Result<Option<String>> {
    let mut text = String::new();
    loop {
        let key = next()?;
        if key.kind == KeyEventKind::Release {
            continue;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => return Ok(Some(text)),
            KeyCode::Char('c' | 'd') if control => return Ok(None),
            KeyCode::Char('u') if control => text.clear(),
            KeyCode::Char(char) if !control => text.push(char),
            KeyCode::Backspace => {
                text.pop();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[(KeyCode, KeyModifiers)]) -> Option<String> {
        let mut keys = keys.iter().map(|(code, modifiers)| KeyEvent::new(*code, *modifiers));
        typed(|| keys.next().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())).unwrap()
    }

    #[test]
    fn typing_can_be_corrected_and_broken_off() {
        use KeyCode::{Backspace, Char, Enter};
        let (none, control) = (KeyModifiers::NONE, KeyModifiers::CONTROL);
        let typed = keys(&[
            (Char('x'), none),
            (Char('u'), control),
            (Char('ä'), none),
            (Char('b'), none),
            (Backspace, none),
            (Char('C'), KeyModifiers::SHIFT),
            (Enter, none),
        ]);
        assert_eq!(typed.as_deref(), Some("äC"));
        assert_eq!(keys(&[(Char('a'), none), (Char('c'), control)]), None);
    }
}
