//! `aside doctor`: what is wrong, and the command that repairs it. Works without daemon, vault and cloud.

use aside_config::{Overrides, Paths, Settings};
use aside_daemon_api::proto::{Check, DoctorRequest};
use clap::Args;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::{output, start};

/// Checks everything and names what repairs it
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// One object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    checks: Vec<CheckReport<'a>>,
}

#[derive(Serialize)]
struct CheckReport<'a> {
    name: &'a str,
    state: &'a str,
    detail: &'a str,
    repair: &'a str,
}

impl Doctor {
    /// Checks.
    pub(crate) async fn run(self, paths: &Paths) -> Result<Exit, Failure> {
        let mut checks = vec![settings(paths), sockets(paths)];
        match ask_daemon(paths).await {
            Ok(more) => checks.extend(more),
            Err(failure) => checks.push(daemon_failed(failure)),
        }
        if self.json {
            let checks = checks.iter().map(|c| CheckReport {
                name: &c.name,
                state: &c.state,
                detail: &c.detail,
                repair: &c.repair,
            });
            output::json(&Report { checks: checks.collect() })?;
        } else {
            for check in &checks {
                output::line(&text(check))?;
            }
        }
        let failed = checks.iter().any(|check| check.state == "failed");
        Ok(if failed { Exit::Failure } else { Exit::Success })
    }
}

async fn ask_daemon(paths: &Paths) -> Result<Vec<Check>, Failure> {
    let mut daemon = start::daemon(paths).await?;
    let detail = format!("process {}, build {}", daemon.status.pid, daemon.status.build);
    let mut checks = vec![check("daemon", "ok", &detail, "")];
    checks.extend(daemon.rpc.doctor(DoctorRequest {}).await?.into_inner().checks);
    Ok(checks)
}

fn settings(paths: &Paths) -> Check {
    match Settings::load(paths, &Overrides::default()) {
        Ok(_) if paths.config_file.exists() => {
            check("settings", "ok", &paths.config_file.display().to_string(), "")
        }
        Ok(_) => check("settings", "ok", "defaults; there is no file", ""),
        Err(error) => check("settings", "failed", &error.to_string(), "aside config default"),
    }
}

fn sockets(paths: &Paths) -> Check {
    match paths.make_runtime_dir() {
        Ok(()) => check("sockets", "ok", &paths.runtime_dir.display().to_string(), ""),
        Err(error) => {
            let repair = format!("rm -r {}", paths.runtime_dir.display());
            check("sockets", "failed", &error.to_string(), &repair)
        }
    }
}

fn daemon_failed(failure: Failure) -> Check {
    match failure {
        Failure::Fault(fault) | Failure::Usage(fault) => {
            check("daemon", "failed", &fault.message, &fault.repair)
        }
        Failure::Interrupted | Failure::Pipe => check("daemon", "failed", "interrupted", "aside doctor"),
    }
}

fn check(name: &str, state: &str, detail: &str, repair: &str) -> Check {
    Check { name: name.into(), state: state.into(), detail: detail.into(), repair: repair.into() }
}

fn text(check: &Check) -> String {
    let repair = if check.repair.is_empty() {
        String::new()
    } else {
        format!("\n                  repair: {}", check.repair)
    };
    format!("{:8} {:8} {}{repair}", check.state, check.name, check.detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_settings_and_sockets_are_found() {
        let home = tempfile::tempdir().unwrap();
        let paths = Paths::under(home.path());
        assert_eq!((settings(&paths).state, sockets(&paths).state), ("ok".into(), "ok".into()));
        std::fs::write(&paths.config_file, "[chat]\ntempo = 1\n").unwrap();
        let found = settings(&paths);
        assert!(found.state == "failed" && found.detail.contains("chat.tempo"), "{found:?}");
        std::fs::remove_dir(&paths.runtime_dir).unwrap();
        std::os::unix::fs::symlink(home.path(), &paths.runtime_dir).unwrap();
        let found = sockets(&paths);
        assert!(found.state == "failed" && found.detail.contains("symbolic link"), "{found:?}");
        assert!(text(&found).contains("repair: rm -r "));
    }
}
