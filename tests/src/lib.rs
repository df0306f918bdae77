//! Helpers of the end-to-end tests: the real binary in a folder of its own, real processes and sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

pub mod lessons;
pub mod pty;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// One installation of Aside: everything under `ASIDE_HOME`, nothing of the user's. Its daemon is stopped when it goes.
pub struct Home {
    binary: PathBuf,
    dir: TempDir,
    settings: Vec<(&'static str, String)>,
}

impl Home {
    /// An empty one for `binary`, which a test names by `env!("CARGO_BIN_EXE_aside")`.
    #[must_use]
    pub fn new(binary: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("aside-").tempdir().unwrap();
        Self { binary: binary.into(), dir, settings: Vec::new() }
    }

    /// Sets a variable for all commands from now on; a daemon that runs keeps what it has.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.settings.push((name, value.to_owned()));
    }

    /// With a vault whose key lies in a file.
    #[must_use]
    pub fn ready(binary: &str) -> Self {
        let home = Self::new(binary);
        home.ok(&["init", "--key", "file"]);
        home
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A command on the binary: no terminal, no settings of the person who runs the tests.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        for (name, value) in self.environment() {
            command.env(name, value);
        }
        command.env_remove("ASIDE_PASSPHRASE_FILE").env_remove("DBUS_SESSION_BUS_ADDRESS");
        command
    }

    /// What [`Home::command`] sets.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let home = self.dir.path().display().to_string();
        let own = [
            ("ASIDE_HOME", home.clone()),
            ("HOME", home),
            ("NO_COLOR", "1".into()),
            ("ASIDE_LEARNING_IDLE", "false".into()),
        ];
        own.into_iter().chain(self.settings.iter().cloned()).collect()
    }

    /// Runs to the end.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs to the end, expects success, gives standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "aside {arguments:?} ended with {:?}:\n{}{}",
            output.status.code(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs with `--json` and reads one object a line.
    pub fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let text = self.ok(&[arguments, &["--json"]].concat());
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    /// Asks and gives the answer's events.
    pub fn ask(&self, arguments: &[&str]) -> Answer {
        Answer::of(self.json(&[&["ask"], arguments].concat()))
    }

    /// Writes a file into the folder and gives its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Process number of the daemon.
    pub fn daemon(&self) -> u32 {
        let status = self.json(&["daemon", "status"]);
        u32::try_from(status[0]["pid"].as_u64().unwrap()).unwrap()
    }

    /// Process number of the local cloud.
    pub fn cloud(&self) -> Option<u32> {
        self.child("cloud serve")
    }

    /// Process number of the trainer.
    pub fn trainer(&self) -> Option<u32> {
        self.child("daemon train")
    }

    /// The same for a daemon that may end at any moment.
    pub fn trainer_of(&self, daemon: u32) -> Option<u32> {
        child_of(daemon, "daemon train")
    }

    /// The daemon's child with `words` in its command line.
    fn child(&self, words: &str) -> Option<u32> {
        child_of(self.daemon(), words)
    }

    /// Every file below the folder with its bytes, but for those in `except`.
    pub fn files(&self, except: &[&str]) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() && !except.iter().any(|e| entry.file_name().to_string_lossy() == *e)
                {
                    found.push((entry.path(), std::fs::read(entry.path()).unwrap()));
                }
            }
        }
        found
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.run(&["daemon", "stop"]);
    }
}

/// Kills at once, as `kill -9` does.
pub fn kill(pid: u32) {
    signal(pid, "-9");
}

/// Sends a signal, as `kill` names it.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill {name} {pid}");
}

/// Whether a process exists and is no zombie.
#[must_use]
pub fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("Z").starts_with('Z'))
}

/// A child of a process with `words` in its command line.
fn child_of(pid: u32, words: &str) -> Option<u32> {
    // The kernel puts a zero between arguments.
    let words = words.replace(' ', "\0");
    children(pid).into_iter().find(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&words))
    })
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|p| p.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

/// Waits until `done` gives something; the test fails after two minutes.
pub fn wait<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    for _ in 0..2400 {
        if let Some(found) = done() {
            return found;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("waited two minutes for {what}");
}

/// Ends a child when the test ends.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The events of one `ask --json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The token events.
    pub tokens: Vec<Value>,
    /// The last event.
    pub done: Value,
}

impl Answer {
    /// Checks what every answer must hold: indices without a gap, texts that join to the answer, counts that match.
    #[must_use]
    pub fn of(mut events: Vec<Value>) -> Self {
        let done = events.pop().expect("no event");
        assert_eq!(done["type"], "done", "{done}");
        let tokens: Vec<Value> = events.into_iter().filter(|e| e["type"] == "token").collect();
        for (index, token) in tokens.iter().enumerate() {
            assert_eq!(token["index"], index, "{token}");
        }
        let text: String = tokens.iter().map(|t| t["text"].as_str().unwrap()).collect();
        assert_eq!(done["text"], text.as_str());
        let count = |key: &str, value: Value| tokens.iter().filter(|t| t[key] == value).count();
        assert_eq!(done["tokens"], tokens.len());
        assert_eq!(done["side"], count("source", "side".into()));
        assert_eq!(done["changed"], count("changed", true.into()));
        Self { tokens, done }
    }

    /// The token ids.
    #[must_use]
    pub fn ids(&self) -> Vec<u64> {
        self.tokens.iter().map(|t| t["id"].as_u64().unwrap()).collect()
    }

    /// How many came from the side path.
    #[must_use]
    pub fn side(&self) -> usize {
        self.tokens.iter().filter(|t| t["source"] == "side").count()
    }
}
