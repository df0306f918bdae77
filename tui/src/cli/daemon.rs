//! `aside daemon`: the process behind every front end; started on demand, so these are for looking and mending.

use std::process::ExitCode;

use aside_config::{Overrides, Paths, Settings};
use aside_daemon_api::fault::Fault;
use aside_daemon_api::proto::{LearningState, LinkState, StatusReply, VaultState};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::{build, events, logging, output, start, unit};

/// Runs, stops and shows the process that keeps the vault
#[derive(Debug, Args)]
pub(crate) struct Daemon {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Runs it here until Ctrl+C
    Run {
        /// Leave the terminal's session
        #[arg(long, hide = true)]
        detach: bool,
    },
    /// Starts it in the background
    Start,
    /// Stops it
    Stop,
    /// Stops it and starts it again
    Restart,
    /// Shows how it is
    Status {
        /// One object
        #[arg(long)]
        json: bool,
    },
    /// Writes a systemd user unit, so that it runs and learns without a front end
    Install,
    /// Removes that unit
    Uninstall,
    /// The trainer: a job comes in by stdin, a candidate goes out by stdout
    #[command(hide = true)]
    Train,
}

/// The object that `status --json` prints.
#[derive(Debug, Serialize)]
struct Report {
    running: bool,
    pid: u32,
    build: String,
    uptime_seconds: u64,
    vault: &'static str,
    vault_detail: String,
    key_slots: Vec<String>,
    link: &'static str,
    link_detail: String,
    cloud: String,
    rtt_us: u64,
    model: String,
    learning: &'static str,
    learning_progress: f32,
    learning_why: String,
    learning_paused: bool,
    pending_tokens: u64,
    adapter_version: u64,
    adapter_off: bool,
}

#[derive(Serialize)]
struct Absent {
    running: bool,
}

impl Daemon {
    /// Whether this is the trainer, which is no front end.
    pub(crate) fn is_trainer(&self) -> bool {
        matches!(self.action, Action::Train)
    }

    /// Whether a script reads the output.
    pub(crate) fn json(&self) -> bool {
        matches!(self.action, Action::Status { json: true })
    }

    /// Does it.
    pub(crate) async fn run(self, paths: Paths) -> Result<Exit, Failure> {
        match self.action {
            Action::Run { detach } => run(paths, detach).await,
            Action::Start => started(&paths).await,
            Action::Stop => {
                let stopped = start::stop(&paths).await?;
                output::notice(if stopped { "The daemon has stopped." } else { "No daemon was running." });
                Ok(Exit::Success)
            }
            Action::Restart => {
                start::stop(&paths).await?;
                started(&paths).await
            }
            Action::Status { json } => status(&paths, json).await,
            Action::Install => unit::install(),
            Action::Uninstall => unit::uninstall(),
            // Handled before there is a runtime.
            Action::Train => Ok(Exit::Failure),
        }
    }
}

async fn started(paths: &Paths) -> Result<Exit, Failure> {
    let daemon = start::daemon(paths).await?;
    output::notice(&format!("The daemon runs (process {}).", daemon.status.pid));
    Ok(Exit::Success)
}

async fn run(paths: Paths, detach: bool) -> Result<Exit, Failure> {
    if detach {
        // It fails only for the leader of a group, which a detached child never is.
        let _ = rustix::process::setsid();
    }
    logging::start();
    paths.make_runtime_dir()?;
    let settings = Settings::load(&paths, &Overrides::default())?;
    serve(paths, settings).await
}

async fn serve(paths: Paths, settings: Settings) -> Result<Exit, Failure> {
    let config = aside_daemon::serve::RunConfig { paths, settings, build: build::id() };
    match aside_daemon::serve::run(config).await {
        Ok(()) => Ok(Exit::Success),
        Err(error) => Err(Fault::internal(error.to_string()).repair("aside doctor").into()),
    }
}

/// Runs the trainer.
pub(crate) fn train() -> ExitCode {
    aside_daemon::learn::train_child()
}

async fn status(paths: &Paths, json: bool) -> Result<Exit, Failure> {
    let Some(daemon) = start::running(paths).await? else {
        if json {
            output::json(&Absent { running: false })?;
        } else {
            output::line("not running; any command starts it")?;
        }
        return Ok(Exit::Failure);
    };
    if json {
        output::json(&report(&daemon.status))?;
    } else {
        output::line(&page(&daemon.status))?;
    }
    Ok(Exit::Success)
}

fn vault(state: VaultState) -> &'static str {
    match state {
        VaultState::Absent => "absent",
        VaultState::Locked => "locked",
        VaultState::Open => "open",
        VaultState::Damaged => "damaged",
    }
}

fn link(state: LinkState) -> &'static str {
    match state {
        LinkState::Connecting => "connecting",
        LinkState::Up => "up",
        LinkState::Away => "away",
        LinkState::Refused => "refused",
    }
}

fn learning(state: LearningState) -> &'static str {
    if state == LearningState::Idle { "idle" } else { events::phase(state) }
}

fn report(s: &StatusReply) -> Report {
    Report {
        running: true,
        pid: s.pid,
        build: s.build.clone(),
        uptime_seconds: s.uptime_seconds,
        vault: vault(s.vault()),
        vault_detail: s.vault_detail.clone(),
        key_slots: s.key_slots.clone(),
        link: link(s.link()),
        link_detail: s.link_detail.clone(),
        cloud: s.cloud.clone(),
        rtt_us: s.rtt_us,
        model: s.model.as_ref().map(|model| model.name.clone()).unwrap_or_default(),
        learning: learning(s.learning()),
        learning_progress: s.learning_progress,
        learning_why: s.learning_why.clone(),
        learning_paused: s.learning_paused,
        pending_tokens: s.pending_tokens,
        adapter_version: s.adapter_version,
        adapter_off: s.adapter_off,
    }
}

fn page(s: &StatusReply) -> String {
    let with = |name: &str, detail: &str| {
        if detail.is_empty() { name.to_owned() } else { format!("{name} ({detail})") }
    };
    let model = s.model.as_ref().map_or("not known yet", |model| model.name.as_str());
    [
        format!("daemon    process {}, up {} s, build {}", s.pid, s.uptime_seconds, s.build),
        format!("vault     {}", with(vault(s.vault()), &s.vault_detail)),
        format!("keys      {}", s.key_slots.join(", ")),
        format!("cloud     {} {}", s.cloud, with(link(s.link()), &s.link_detail)),
        format!("model     {model}"),
        format!("learning  {}", super::learn::standing(s)),
        format!(
            "adapter   version {}{}",
            s.adapter_version,
            if s.adapter_off { ", turned off (aside adapter on)" } else { "" }
        ),
    ]
    .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_readable_by_people_and_scripts() {
        let mut status = StatusReply { pid: 42, cloud: "local".into(), ..Default::default() };
        status.set_vault(VaultState::Locked);
        status.vault_detail = "waiting for a passphrase".into();
        status.set_link(LinkState::Up);
        assert!(page(&status).contains("vault     locked (waiting for a passphrase)\n"));
        assert!(page(&status).contains("cloud     local up\n"));
        let json = serde_json::to_value(report(&status)).unwrap();
        assert_eq!((json["pid"].as_u64(), json["link"].as_str()), (Some(42), Some("up")));
        assert_eq!((json["learning"].as_str(), json["running"].as_bool()), (Some("idle"), Some(true)));
    }
}
