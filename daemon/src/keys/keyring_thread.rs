//! The operating system's keyring, on a thread of its own and with a deadline: a locked keyring can block for ever.

use super::{KeyError, VaultKey};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;
use zeroize::Zeroizing;

const SERVICE: &str = "aside";
/// How long a caller waits.
const DEADLINE: Duration = Duration::from_secs(5);

enum Task {
    Get(String),
    Set(String, Zeroizing<Vec<u8>>),
}

type Reply = Result<Zeroizing<Vec<u8>>, String>;

/// The one thread; a task that blocks for ever blocks those behind it, and each caller's deadline still holds.
fn thread() -> &'static Sender<(Task, Sender<Reply>)> {
    static THREAD: OnceLock<Sender<(Task, Sender<Reply>)>> = OnceLock::new();
    THREAD.get_or_init(|| {
        let (sender, tasks): (_, Receiver<(Task, Sender<Reply>)>) = mpsc::channel();
        std::thread::spawn(move || {
            for (task, reply) in tasks {
                // A caller whose deadline has passed is gone.
                let _ = reply.send(run(task));
            }
        });
        sender
    })
}

fn run(task: Task) -> Reply {
    let entry = |account: &str| keyring::Entry::new(SERVICE, account).map_err(|e| why(&e));
    match task {
        Task::Get(account) => entry(&account)?.get_secret().map(Zeroizing::new).map_err(|e| why(&e)),
        Task::Set(account, secret) => {
            entry(&account)?.set_secret(&secret).map(|()| Zeroizing::new(Vec::new())).map_err(|e| why(&e))
        }
    }
}

/// Only what kind of error it is: some carry the secret.
fn why(error: &keyring_core::Error) -> String {
    match error {
        keyring_core::Error::NoEntry => "it holds no key for this vault",
        keyring_core::Error::NoDefaultStore => "there is none in this session",
        keyring_core::Error::NoStorageAccess(_) => "it is locked",
        keyring_core::Error::PlatformFailure(_) => "it answers with an error",
        _ => "it holds something else",
    }
    .to_owned()
}

fn ask(task: Task) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let (reply, answer) = mpsc::channel();
    let gone = |_| KeyError::Keyring("its thread ended".into());
    thread().send((task, reply)).map_err(|_| gone(()))?;
    match answer.recv_timeout(DEADLINE) {
        Ok(reply) => reply.map_err(KeyError::Keyring),
        Err(_) => Err(KeyError::Keyring(format!("it did not answer within {} s", DEADLINE.as_secs()))),
    }
}

/// The wrapping key kept under `account`.
pub(super) fn get(account: &str) -> Result<VaultKey, KeyError> {
    let bytes = ask(Task::Get(account.to_owned()))?;
    VaultKey::from_bytes(&bytes).ok_or_else(|| KeyError::Keyring("it holds something else".into()))
}

/// Keeps a wrapping key under `account`.
pub(super) fn set(account: &str, key: &VaultKey) -> Result<(), KeyError> {
    ask(Task::Set(account.to_owned(), Zeroizing::new(key.bytes().to_vec()))).map(drop)
}
