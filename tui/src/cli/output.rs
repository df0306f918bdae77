//! Writing to stdout and stderr: results and events to the one, everything else to the other.

use std::io::{self, IsTerminal, Write};

use aside_daemon_api::fault::Fault;
use serde::Serialize;

/// A line of a result.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// A piece of an answer, at once.
pub(crate) fn piece(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// One event or object as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    line(&serde_json::to_string(value)?)
}

/// Something a person should know that is no result. A closed stderr is no reason to fail.
pub(crate) fn notice(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A question, without a line's end.
pub(crate) fn prompt(text: &str) -> io::Result<()> {
    let mut err = io::stderr().lock();
    err.write_all(text.as_bytes())?;
    err.flush()
}

/// A failure: the cause, then the command that repairs it.
pub(crate) fn fault(fault: &Fault) {
    notice(&fault_text(fault, coloured()));
}

fn fault_text(fault: &Fault, colour: bool) -> String {
    let (red, bold, plain) = if colour { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
    let mut text = format!("{red}error:{plain} {}", fault.message);
    if !fault.repair.is_empty() {
        text.push_str(&format!("\n{bold}repair:{plain} {}", fault.repair));
    }
    text
}

/// Whether stderr takes colour: a terminal, and no `NO_COLOR`.
fn coloured() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_its_cause_and_then_its_repair() {
        let fault = Fault::new("locked", "the vault is locked").repair("aside init --key file");
        assert_eq!(fault_text(&fault, false), "error: the vault is locked\nrepair: aside init --key file");
        assert!(fault_text(&fault, true).starts_with("\x1b[1;31merror:\x1b[0m "));
        assert_eq!(fault_text(&Fault::internal("broken"), false), "error: broken");
    }
}
