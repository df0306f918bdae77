//! `aside cloud`: the process that runs the backbone, here for others or as the daemon's child.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use aside_cloud_api::link::Address;
use aside_config::Paths;
use clap::{Args, Subcommand, ValueEnum};

use aside_daemon_api::fault::{Fault, codes};

use super::exit::{Exit, Failure};
use super::{logging, output, prepare};

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
    /// Learns on public conversations what devices of a model begin with
    Prepare(prepare::Prepare),
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
    /// Under which other machines reach this one; when left out, where it listens, or this machine's name
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
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
        match &self.action {
            Action::Serve(_) => false,
            Action::Invite(invite) => invite.json,
            Action::Prepare(prepare) => prepare.json,
        }
    }

    /// Does it.
    pub(crate) async fn run(self, paths: &Paths) -> Result<Exit, Failure> {
        match self.action {
            Action::Serve(serve) => serve.run(paths).await,
            Action::Invite(invite) => invite.run(paths),
            Action::Prepare(prepare) => prepare.run().await,
        }
    }
}

impl Serve {
    async fn run(self, paths: &Paths) -> Result<Exit, Failure> {
        use aside_cloud::service::{ModelSource, ServeConfig, serve};
        logging::start();
        let config = ServeConfig {
            model: match self.model {
                Some(folder) => ModelSource::Folder(folder, self.precision.into()),
                None => ModelSource::Bundled,
            },
            address: self.listen.parse().map_err(|error| bad("--listen", &error))?,
            state_dir: self.state_dir.unwrap_or_else(|| paths.cloud_dir()),
            allow: self
                .allow
                .iter()
                .map(|key| key.parse().map_err(|error| bad("--allow", &error)))
                .collect::<Result<_, _>>()?,
            private_dir: self.private_dir.unwrap_or_else(|| paths.runtime_dir.join("cloud")),
            parent_pipe: self.parent_pipe,
        };
        // A parent that does not read the line is no reason to stop serving.
        let ready = |uri: &aside_cloud_api::uri::Uri| drop(output::line(&uri.to_string()));
        serve(config, ready).await.map_err(|error| Fault::internal(error.to_string()))?;
        Ok(Exit::Success)
    }
}

impl Invite {
    fn run(self, paths: &Paths) -> Result<Exit, Failure> {
        let state_dir = self.state_dir.unwrap_or_else(|| paths.cloud_dir());
        let mut uri = aside_cloud::service::invite(&state_dir, self.ttl).map_err(|error| {
            Fault::new(codes::NOT_FOUND, error.to_string()).repair("aside cloud serve --listen HOST:PORT")
        })?;
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        uri.address = reachable(uri.address, self.host, name);
        if self.json {
            output::json(&serde_json::json!({ "uri": uri.to_string(), "ttl_seconds": self.ttl.as_secs() }))?;
        } else {
            output::line(&uri.to_string())?;
            output::notice("On the other machine: aside connect URI. It works once.");
        }
        Ok(Exit::Success)
    }
}

impl From<PrecisionName> for aside_cloud::engine::Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Self::F32,
            PrecisionName::Q8_0 => Self::Q8_0,
        }
    }
}

fn bad(flag: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(&format!("{flag}: {error}"), "aside cloud serve --help")
}

/// Where other machines find an address that is listened at: one that stands for every interface names none of them.
fn reachable(address: Address, host: Option<String>, name: String) -> Address {
    match address {
        Address::Tcp(listened, port) => {
            let every = listened.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
            Address::Tcp(host.unwrap_or(if every { name } else { listened }), port)
        }
        unix @ Address::Unix(_) => unix,
    }
}

/// A time such as 30m, 24h or 7d, above nothing.
fn ttl(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).ok().filter(|time| !time.is_zero());
    time.ok_or_else(|| format!("{text} is no time such as 30m, 24h or 7d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_names_a_host_that_others_can_reach() {
        let at = |host: &str| Address::Tcp(host.into(), 7425);
        let told =
            |host: &str, wanted: Option<&str>| reachable(at(host), wanted.map(Into::into), "box".into());
        assert_eq!(told("0.0.0.0", None), at("box"));
        assert_eq!(told("::", None), at("box"));
        assert_eq!(told("192.168.1.5", None), at("192.168.1.5"));
        assert_eq!(told("0.0.0.0", Some("home.example")), at("home.example"));
    }

    #[test]
    fn times_have_a_unit_and_are_not_nothing() {
        assert_eq!(ttl("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(ttl("7d"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "h", "5", "0h", "-1h", "5q", "99999999999999999999d", "18446744073709551615d"] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }
}
