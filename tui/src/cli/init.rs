//! `aside init`: makes the vault and its first key slot.

use aside_config::Paths;
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::InitRequest;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::{output, secret, start};

/// Makes the vault, with the key you choose
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Where its key lies
    #[arg(long, value_enum)]
    key: Key,
    /// One object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Key {
    /// In the keyring of this desktop
    Keyring,
    /// Sealed by a passphrase, asked for after every start
    Passphrase,
    /// In a file that only you may read; protects copies of the vault, not this machine
    File,
}

#[derive(Serialize)]
struct Report<'a> {
    key: &'a str,
    note: &'a str,
}

impl Init {
    /// Makes it.
    pub(crate) async fn run(self, paths: &Paths) -> Result<Exit, Failure> {
        let passphrase = if self.key == Key::Passphrase { passphrase()? } else { String::new() };
        let key = match self.key {
            Key::Keyring => "keyring",
            Key::Passphrase => "passphrase",
            Key::File => "file",
        };
        let mut daemon = start::daemon(paths).await?;
        let request = InitRequest { key: key.to_owned(), passphrase };
        let note = daemon.rpc.init(request).await?.into_inner().note;
        if self.json {
            output::json(&Report { key, note: &note })?;
        } else {
            output::line("The vault is made.")?;
            if !note.is_empty() {
                output::line(&note)?;
            }
        }
        Ok(Exit::Success)
    }
}

/// From the file that the environment names, else typed twice.
fn passphrase() -> Result<String, Failure> {
    if let Some(passphrase) = secret::from_file()? {
        return Ok(passphrase);
    }
    if !secret::can_ask() {
        let fault = Fault::new(codes::LOCKED, "there is no terminal to type a passphrase in");
        return Err(fault.repair("ASIDE_PASSPHRASE_FILE=FILE aside init --key passphrase").into());
    }
    tokio::task::block_in_place(|| {
        let first = secret::ask("New passphrase: ")?;
        let again = secret::ask("The same again: ")?;
        match checked(first, &again) {
            Ok(passphrase) => Ok(passphrase),
            Err(why) => Err(Failure::usage(why, "aside init --key passphrase")),
        }
    })
}

fn checked(first: String, again: &str) -> Result<String, &'static str> {
    match () {
        () if first.is_empty() => Err("a passphrase cannot be empty"),
        () if first != again => Err("the two differ"),
        () => Ok(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_there_and_typed_the_same_twice() {
        assert_eq!(checked("a b".into(), "a b").as_deref(), Ok("a b"));
        assert!(checked(String::new(), "").is_err());
        assert!(checked("a".into(), "b").is_err());
    }
}
