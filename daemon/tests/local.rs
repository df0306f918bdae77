//! The local cloud as a supervised child: a script stands in for the binary, the real service runs in this process.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aside_cloud_api::identity::Identity;
use aside_config::Paths;
use aside_daemon::cloud::{Cloud, CloudConfig, Place};

const LONG: Duration = Duration::from_secs(60);

fn script(folder: &Path, body: &str) -> PathBuf {
    let path = folder.join("aside");
    std::fs::write(&path, format!("#!/bin/sh\necho $$ >> {}/pids\n{body}\n", folder.display())).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
    path
}

fn pids(folder: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(folder.join("pids")).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn cloud(folder: &Path, executable: PathBuf) -> Cloud {
    let paths = Paths::under(folder);
    paths.make_runtime_dir().unwrap();
    Cloud::new(CloudConfig { paths, model: String::new(), executable, build: "test".into() })
}

async fn gone(pid: u32) {
    while Path::new(&format!("/proc/{pid}")).exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_started_again_when_it_dies_and_ends_with_us() {
    let dir = tempfile::Builder::new().prefix("aside-").tempdir().unwrap();
    let identity = Identity::generate().unwrap();
    let (service, uri) = support::cloud(&dir.path().join("c"), identity.public()).await;
    // Like the real one it says its URI and lives as long as its pipe.
    let executable = script(dir.path(), &format!("echo {uri}\nexec cat > /dev/null"));
    let cloud = cloud(dir.path(), executable);
    cloud.start(identity, Place::Local).await;
    let kit = cloud.connected(LONG).await.unwrap().kit;
    assert!(kit.vocab() > 0);
    let first = pids(dir.path())[0];
    std::process::Command::new("kill").args(["-9", &first.to_string()]).status().unwrap();
    while pids(dir.path()).len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cloud.connected(LONG).await.unwrap();
    let second = pids(dir.path())[1];
    cloud.stop().await;
    gone(second).await;
    service.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_never_starts_is_reported_without_waiting_for_ever() {
    let dir = tempfile::Builder::new().prefix("aside-").tempdir().unwrap();
    let cloud = cloud(dir.path(), script(dir.path(), "exit 3"));
    cloud.start(Identity::generate().unwrap(), Place::Local).await;
    let fault = cloud.connected(Duration::from_secs(3600)).await.map(|_| ()).unwrap_err();
    assert_eq!((fault.code.as_str(), fault.repair.as_str()), ("cloud-away", "aside doctor"));
    assert!(fault.message.contains("ended at once"), "{fault}");
    cloud.stop().await;
}
