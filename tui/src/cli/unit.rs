//! `aside daemon install`: a systemd user unit, so that the daemon also runs, and learns, while no front end is open.

use std::path::{Path, PathBuf};

use aside_daemon_api::fault::{Fault, codes};

use super::exit::{Exit, Failure};
use super::output;

const NAME: &str = "aside.service";

/// Writes the unit and says how to start it; nothing is started here.
pub(crate) fn install() -> Result<Exit, Failure> {
    let path = place()?;
    let text = unit(&std::env::current_exe()?, &environment()?);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Whole or not at all, also when the disk is full.
    let fresh = path.with_extension("service.new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(&fresh, &path)?;
    output::line(&format!("Written: {}", path.display()))?;
    output::line("Start it now and at every login: systemctl --user enable --now aside")?;
    output::line("Also while you are logged out:    loginctl enable-linger")?;
    output::notice("A vault with a passphrase stays locked until a front end opens it.");
    Ok(Exit::Success)
}

/// Takes it away again.
pub(crate) fn uninstall() -> Result<Exit, Failure> {
    let path = place()?;
    match std::fs::remove_file(&path) {
        Ok(()) => output::line(&format!(
            "Removed: {}. Stop what runs: systemctl --user disable --now aside",
            path.display()
        ))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            output::notice(&format!("There is none: {}", path.display()));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Exit::Success)
}

fn place() -> Result<PathBuf, Failure> {
    let folder = aside_config::systemd_folder();
    let folder = folder.ok_or_else(|| Fault::new(codes::NOT_FOUND, "there is no home folder"))?;
    Ok(folder.join(NAME))
}

/// What the daemon has to know of where it lives.
fn environment() -> Result<Vec<(&'static str, PathBuf)>, Failure> {
    let mut out = Vec::new();
    for name in ["ASIDE_HOME", "ASIDE_PASSPHRASE_FILE"] {
        if let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) {
            out.push((name, std::path::absolute(value)?));
        }
    }
    Ok(out)
}

fn unit(executable: &Path, environment: &[(&str, PathBuf)]) -> String {
    let mut text = String::from("[Unit]\nDescription=Aside, a chat that learns its user\n\n[Service]\n");
    for (name, value) in environment {
        text.push_str(&format!("Environment={}\n", quoted(&format!("{name}={}", value.display()))));
    }
    text.push_str(&format!("ExecStart={} daemon run\n", quoted(&executable.display().to_string())));
    // It learns at idle priority anyway; a chat is never to wait for it.
    text.push_str("Restart=on-failure\nNice=5\nUMask=0077\n\n[Install]\nWantedBy=default.target\n");
    text
}

/// A word of a unit file: in quotes, its own quotes and percent signs escaped.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_names_this_binary_and_its_home() {
        let text = unit(Path::new("/opt/my \"tools\"/aside"), &[("ASIDE_HOME", "/home/a b/50%".into())]);
        assert!(text.contains("ExecStart=\"/opt/my \\\"tools\\\"/aside\" daemon run\n"), "{text}");
        assert!(text.contains("Environment=\"ASIDE_HOME=/home/a b/50%%\"\n"), "{text}");
        assert!(text.ends_with("WantedBy=default.target\n"));
    }
}
