//! A cloud on this machine: this binary again as `cloud serve` on a private Unix socket, restarted when it dies. It
//! ends when its pipe from us closes, so it never outlives the daemon.

use std::process::Stdio;
use std::time::{Duration, Instant};

use aside_cloud_api::identity::Identity;
use aside_cloud_api::uri::Uri;
use aside_config::make_private_dir;
use aside_daemon_api::proto::LinkState;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::connection::Shared;

/// Until it prints its URI: a large model takes its time to load.
const START: Duration = Duration::from_secs(600);
/// Until it has ended after its pipe closed.
const END: Duration = Duration::from_secs(3);
/// Pause before a restart, doubling up to the limit with every start that did not last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A cloud that ran this long was no failed start.
const LASTED: Duration = Duration::from_secs(20);
/// Failed starts in a row after which waiting is no use.
const HOPELESS: u32 = 3;

/// Keeps a local cloud running until `stop`.
pub(super) async fn supervise(shared: &Shared, identity: &Identity, stop: &CancellationToken) {
    let mut linked: Option<(Uri, aside_cloud_api::link::client::Link)> = None;
    let mut failures = 0;
    while !stop.is_cancelled() {
        let started = Instant::now();
        match stop.run_until_cancelled(launch(shared, identity)).await {
            None => return,
            Some(Err(why)) => {
                failures += 1;
                tracing::warn!(%why, failures, "the local cloud did not start");
                shared.view.send_modify(|view| {
                    view.state = LinkState::Away;
                    view.detail = why;
                    view.hopeless = failures >= HOPELESS;
                });
            }
            Some(Ok((child, uri))) => {
                let link = match linked.take() {
                    Some((old, link)) if old == uri => link,
                    _ => shared.link(&uri, identity),
                };
                run(shared, child, &link, stop).await;
                linked = Some((uri, link));
                failures = if started.elapsed() > LASTED { 0 } else { failures + 1 };
            }
        }
        let pause = PAUSE.0.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(PAUSE.1);
        stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// Starts it; its URI is the first line it prints.
async fn launch(shared: &Shared, identity: &Identity) -> Result<(Child, Uri), String> {
    let config = &shared.config;
    let private = config.paths.runtime_dir.join("cloud");
    for folder in [&private, &config.paths.runtime_dir.join("link")] {
        make_private_dir(folder).map_err(|error| error.to_string())?;
    }
    let mut command = Command::new(&config.executable);
    command
        .args(["cloud", "serve", "--parent-pipe"])
        .arg("--listen")
        .arg(format!("unix:{}", config.paths.runtime_dir.join("cloud.sock").display()))
        .arg("--state-dir")
        .arg(config.paths.cloud_dir().join("local"))
        .arg("--private-dir")
        .arg(private)
        .arg("--allow")
        .arg(identity.public().to_string());
    if !config.model.is_empty() {
        command.arg("--model").arg(&config.model);
    }
    command.env_remove("ASIDE_PASSPHRASE_FILE");
    // The engine has its own threads; candle's beside them only get in their way.
    command.env("CANDLE_NUM_THREADS", "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    let output = child.stdout.take().ok_or("it has no output")?;
    let mut lines = BufReader::new(output).lines();
    let line = tokio::time::timeout(START, lines.next_line()).await;
    let line = line.map_err(|_| "it did not start in time")?.map_err(|error| error.to_string())?;
    let line = line.ok_or("it ended at once; the daemon's log says why")?;
    let uri = line.split_whitespace().find_map(|word| word.parse::<Uri>().ok());
    let uri = uri.ok_or("its first line holds no URI")?;
    // Whatever else it prints must not fill the pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, uri))
}

/// Until it dies or `stop`.
async fn run(
    shared: &Shared,
    mut child: Child,
    link: &aside_cloud_api::link::client::Link,
    stop: &CancellationToken,
) {
    // Waiting would close a pipe that the child still held, and that is its sign to end.
    let pipe = child.stdin.take();
    let died = tokio::select! {
        died = child.wait() => Some(died),
        () = shared.follow(link) => None,
        () = stop.cancelled() => None,
    };
    if let Some(died) = died {
        let status = died.map_or_else(|error| error.to_string(), |status| status.to_string());
        tracing::warn!(%status, "the local cloud ended; it is started again");
        return;
    }
    // Its pipe closes, and that ends it.
    drop(pipe);
    if tokio::time::timeout(END, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
