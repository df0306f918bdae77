//! A daemon with an open vault: asks for the passphrase when that is what is missing.

use aside_config::Paths;
use aside_daemon_api::client::Rpc;
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{StatusReply, StatusRequest, UnlockRequest, VaultState};

use super::exit::Failure;
use super::start::{self, Daemon};
use super::{output, secret};

/// How often a person may mistype.
const TRIES: usize = 3;
const CREATE: &str = "aside init --key keyring|passphrase|file";

/// A running daemon whose vault is open.
///
/// # Errors
/// Faults `no-vault`, `locked`, `wrong-key` and `damaged`, and whatever keeps the daemon from starting.
pub(crate) async fn open(paths: &Paths) -> Result<Rpc, Failure> {
    let Daemon { mut rpc, status } = start::daemon(paths).await?;
    let status = settled(&mut rpc, status).await?;
    match status.vault() {
        VaultState::Open => Ok(rpc),
        VaultState::Absent => Err(absent().into()),
        VaultState::Damaged => Err(damaged(&status).into()),
        VaultState::Locked if has(&status, "passphrase") => {
            unlock(&mut rpc).await?;
            Ok(rpc)
        }
        VaultState::Locked => Err(locked(&status).into()),
    }
}

/// The status once a daemon that has just started has tried the keys that need no person.
async fn settled(rpc: &mut Rpc, status: Box<StatusReply>) -> Result<Box<StatusReply>, Failure> {
    let trying = |status: &StatusReply| {
        let by_itself = has(status, "keyring") || has(status, "file");
        status.vault() == VaultState::Locked && by_itself && status.vault_detail.is_empty()
    };
    if !trying(&status) {
        return Ok(status);
    }
    let mut changes = rpc.watch(StatusRequest {}).await?.into_inner();
    let wait = async {
        while let Some(now) = changes.message().await? {
            if !trying(&now) {
                return Ok(Box::new(now));
            }
        }
        Err(tonic::Status::unavailable("it stopped"))
    };
    match tokio::time::timeout(std::time::Duration::from_secs(10), wait).await {
        Ok(ended) => Ok(ended?),
        Err(_) => Ok(status),
    }
}

async fn unlock(rpc: &mut Rpc) -> Result<(), Failure> {
    if let Some(passphrase) = secret::from_file()? {
        rpc.unlock(UnlockRequest { passphrase }).await?;
        return Ok(());
    }
    if !secret::can_ask() {
        let fault = Fault::new(
            codes::LOCKED,
            "the vault is locked and there is no terminal to ask for its passphrase",
        );
        return Err(fault.repair("ASIDE_PASSPHRASE_FILE=FILE aside ...").into());
    }
    let mut left = TRIES;
    loop {
        let passphrase = tokio::task::block_in_place(|| secret::ask("Passphrase: "))?;
        left -= 1;
        match rpc.unlock(UnlockRequest { passphrase }).await.map_err(Fault::from) {
            Ok(_) => return Ok(()),
            Err(fault) if fault.code == codes::WRONG_KEY && left > 0 => output::notice("Not this one."),
            Err(fault) => return Err(fault.into()),
        }
    }
}

fn has(status: &StatusReply, kind: &str) -> bool {
    status.key_slots.iter().any(|slot| slot == kind)
}

fn absent() -> Fault {
    let message = "there is no vault yet; make one, with the key you choose \
                   (without a terminal, ASIDE_PASSPHRASE_FILE names the file with the passphrase)";
    Fault::new(codes::NO_VAULT, message).repair(CREATE)
}

fn damaged(status: &StatusReply) -> Fault {
    let message = format!("the vault cannot be read: {}", status.vault_detail);
    Fault::new(codes::DAMAGED, message).repair("aside doctor")
}

fn locked(status: &StatusReply) -> Fault {
    let why = if status.vault_detail.is_empty() { "its key is out of reach" } else { &status.vault_detail };
    Fault::new(codes::LOCKED, format!("the vault is locked: {why}")).repair("aside doctor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_vault_the_commands_that_make_one_are_named() {
        let fault = absent();
        assert_eq!(fault.code, codes::NO_VAULT);
        assert_eq!(fault.repair, "aside init --key keyring|passphrase|file");
        assert!(fault.message.contains("ASIDE_PASSPHRASE_FILE"));
    }

    #[test]
    fn a_locked_vault_says_why() {
        let status = StatusReply { vault_detail: "the keyring did not answer".into(), ..Default::default() };
        assert_eq!(locked(&status).message, "the vault is locked: the keyring did not answer");
    }
}
