//! `aside cloud`: the process that runs the backbone, here for others or as the daemon's child.

use std::path::PathBuf;
use std::time::Duration;

use aside_config::Paths;
use clap::{Args, Subcommand, ValueEnum};

use super::exit::{Exit, Failure};
use super::{logging, output};

/// Serves the backbone to other machines, and invites them
#[derive(Debug, Args)]
pub(crate) struct Cloud {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Serves a model until Ctrl+C; the first line of stdout is its URI
    Serve(Serve),
    /// Prints a URI that admits one new device
    Invite(Invite),
}

/// What to serve, where, and to whom.
#[derive(Debug, Args)]
struct Serve {
    /// Folder of a Hugging Face model; the bundled backbone when left out
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// HOST:PORT, or unix:PATH
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7425")]
    listen: String,
    /// Of the weights of --model
    #[arg(long, value_enum, default_value_t = PrecisionName::Q8_0)]
    precision: PrecisionName,
    /// Admit this client key, besides those enrolled
    #[arg(long, value_name = "KEY")]
    allow: Vec<String>,
    /// Folder of identity, allow-list and invitations
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Private folder of the inner socket
    #[arg(long, value_name = "DIR", hide = true)]
    private_dir: Option<PathBuf>,
    /// End when stdin closes
    #[arg(long, hide = true)]
    parent_pipe: bool,
}

#[derive(Debug, Args)]
struct Invite {
    /// How long it is good for, for example 30m, 24h or 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = ttl)]
    ttl: Duration,
    /// Folder of the cloud that is to admit it
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// One object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PrecisionName {
    /// Exact
    #[value(name = "f32")]
    F32,
    /// Rows in 8 bits: a quarter of the memory
    #[value(name = "q8_0")]
    Q8_0,
}

impl Cloud {
    /// Whether a script reads the output.
    pub(crate) fn json(&self) -> bool {
        matches!(&self.action, Action::Invite(invite) if invite.json)
    }

    /// Does it.
    pub(crate) async fn run(self, paths: &Paths) -> Result<Exit, Failure> {
        match self.action {
            Action::Serve(serve) => serve.run(paths).await,
            Action::Invite(invite) => invite.run(paths),
        }
    }
}

// CLOUD start
impl Serve {
    async fn run(self, _paths: &Paths) -> Result<Exit, Failure> {
        logging::start();
        output::notice(&format!("{self:?}"));
        Err(Failure::usage("this build has no cloud", "aside --help"))
    }
}

impl Invite {
    fn run(self, _paths: &Paths) -> Result<Exit, Failure> {
        output::notice(&format!("{self:?}"));
        Err(Failure::usage("this build has no cloud", "aside --help"))
    }
}
// CLOUD end

/// A number and s, m, h or d.
fn ttl(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text} is no time such as 30m, 24h or 7d");
    let unit = text.chars().last().ok_or_else(bad)?;
    let number: u64 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(bad)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    number.checked_mul(seconds).filter(|total| *total > 0).map(Duration::from_secs).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_are_not_nothing() {
        assert_eq!(ttl("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(ttl("7d"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "h", "5", "0h", "-1h", "5w", "99999999999999999999d", "18446744073709551615d"] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }
}
