//! A cloud as a process of its own ends cleanly: at SIGTERM, at Ctrl+C, and when its parent's pipe closes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

use aside_cloud::service::{ModelSource, ServeConfig, serve};
use aside_cloud_api::link::Address;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Set for the child: its folder.
const FOLDER: &str = "ASIDE_TEST_CLOUD";
const READY: &str = "aside+unix://";

/// Not a test by itself: the process that the others start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let config = ServeConfig {
        model: ModelSource::Bundled,
        address: Address::Unix(folder.join("cloud.sock")),
        state_dir: folder.join("state"),
        allow: vec![],
        private_dir: folder.join("s"),
        parent_pipe: true,
    };
    serve(config, |uri| println!("\n{uri}")).await.unwrap();
}

fn ends_by(end: impl FnOnce(&mut Child)) {
    let folder = TempDir::new().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with(READY)), "it was never ready");
    end(&mut child);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
}

fn signal(name: &str, child: &Child) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn at_sigterm() {
    ends_by(|child| signal("-TERM", child));
}

#[test]
fn at_an_interrupt() {
    ends_by(|child| signal("-INT", child));
}

#[test]
fn when_the_parent_is_gone() {
    ends_by(|child| drop(child.stdin.take()));
}
