//! The operating system's keyring, on a thread of its own and with a deadline: a locked keyring can block for ever.

use super::{KeyError, VaultKey};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;
use zeroize::Zeroizing;

/// How long a caller waits.
const DEADLINE: Duration = Duration::from_secs(5);

enum Task {
    Get(String),
    Set(String, Zeroizing<Vec<u8>>),
}

type Reply = Result<Zeroizing<Vec<u8>>, String>;

type Queue = Sender<(Task, Sender<Reply>)>;

/// The one thread; a task that blocks for ever blocks those behind it, and each caller's deadline still holds.
fn thread() -> &'static Queue {
    static THREAD: OnceLock<Queue> = OnceLock::new();
    THREAD.get_or_init(|| start(run))
}

fn start(mut run: impl FnMut(Task) -> Reply + Send + 'static) -> Queue {
    let (sender, tasks): (_, Receiver<(Task, Sender<Reply>)>) = mpsc::channel();
    std::thread::spawn(move || {
        for (task, reply) in tasks {
            // A caller whose deadline has passed is gone.
            let _ = reply.send(run(task));
        }
    });
    sender
}

#[cfg(not(test))]
fn run(task: Task) -> Reply {
    let entry = |account: &str| keyring::Entry::new("aside", account).map_err(|e| why(&e));
    match task {
        Task::Get(account) => entry(&account)?.get_secret().map(Zeroizing::new).map_err(|e| why(&e)),
        Task::Set(account, secret) => {
            entry(&account)?.set_secret(&secret).map(|()| Zeroizing::new(Vec::new())).map_err(|e| why(&e))
        }
    }
}

/// Tests never touch the keyring of the person who runs them.
#[cfg(test)]
fn run(task: Task) -> Reply {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    static KEPT: Mutex<BTreeMap<String, Zeroizing<Vec<u8>>>> = Mutex::new(BTreeMap::new());
    let mut kept = KEPT.lock().unwrap();
    match task {
        Task::Get(account) => kept.get(&account).cloned().ok_or_else(|| why(&keyring_core::Error::NoEntry)),
        Task::Set(account, secret) => {
            kept.insert(account, secret);
            Ok(Zeroizing::new(Vec::new()))
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

fn ask(thread: &Queue, task: Task, deadline: Duration) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let (reply, answer) = mpsc::channel();
    let gone = |_| KeyError::Keyring("its thread ended".into());
    thread.send((task, reply)).map_err(|_| gone(()))?;
    match answer.recv_timeout(deadline) {
        Ok(reply) => reply.map_err(KeyError::Keyring),
        Err(_) => Err(KeyError::Keyring(format!("it did not answer within {} s", deadline.as_secs()))),
    }
}

/// The wrapping key kept under `account`.
pub(super) fn get(account: &str) -> Result<VaultKey, KeyError> {
    let bytes = ask(thread(), Task::Get(account.to_owned()), DEADLINE)?;
    VaultKey::from_bytes(&bytes).ok_or_else(|| KeyError::Keyring("it holds something else".into()))
}

/// Keeps a wrapping key under `account`.
pub(super) fn set(account: &str, key: &VaultKey) -> Result<(), KeyError> {
    let secret = Zeroizing::new(key.bytes().to_vec());
    ask(thread(), Task::Set(account.to_owned(), secret), DEADLINE).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyring_that_never_answers_lets_its_caller_go() {
        let (_hold, blocked) = mpsc::channel::<()>();
        let stuck = start(move |_| {
            let _ = blocked.recv();
            Err("woken".into())
        });
        let asked = ask(&stuck, Task::Get("a".into()), Duration::from_millis(20));
        assert!(matches!(asked, Err(KeyError::Keyring(why)) if why.starts_with("it did not answer")));
    }

    #[test]
    fn errors_never_show_what_the_keyring_holds() {
        let error = keyring_core::Error::BadEncoding(b"a secret".to_vec());
        assert_eq!(why(&error), "it holds something else");
    }
}
