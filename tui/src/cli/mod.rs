//! The command line: what there is, and which file does it. The only place that writes to stdout and stderr.

mod adapter;
mod ask;
mod build;
mod cloud;
mod completions;
mod config;
mod connect;
mod daemon;
mod doctor;
mod events;
mod exit;
mod init;
mod learn;
mod logging;
mod man;
mod output;
mod portable;
mod prepare;
mod progress;
mod rate;
mod report;
mod secret;
pub(crate) mod start;
mod stats;
mod unit;
pub(crate) mod unlock;

use std::io::IsTerminal;
use std::process::ExitCode;

use aside_config::{Overrides, Paths, Settings, Theme};
use aside_daemon_api::fault::{Fault, codes};
use clap::{Parser, Subcommand};

use crate::screen;
use exit::{Exit, Failure};

/// A terminal chat whose model learns its user.
///
/// Without a command it opens the chat. The large model is frozen; a small network on this device learns from you,
/// lies encrypted in your vault, and says some of the words.
#[derive(Debug, Parser)]
#[command(name = "aside", version, disable_help_subcommand = true, after_help = AFTER)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER: &str = "\
Environment:
  ASIDE_HOME             one folder for everything
  ASIDE_PASSPHRASE_FILE  opens the vault without a terminal
  ASIDE_CHAT_SEED, ...   any setting that `aside config default` lists
  ASIDE_LOG              what daemon and cloud log, for example debug
  NO_COLOR               no colour

Exit codes: 0 done, 1 failure, 2 usage, 3 vault locked or absent, 4 cloud away, 130 interrupted";

#[derive(Debug, Subcommand)]
enum Command {
    Ask(ask::Ask),
    Learn(learn::Learn),
    Rate(rate::Rate),
    Adapter(adapter::Adapter),
    Stats(stats::Stats),
    Init(init::Init),
    Connect(connect::Connect),
    Doctor(doctor::Doctor),
    Config(config::Config),
    Daemon(daemon::Daemon),
    Cloud(cloud::Cloud),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Runs the command and says how it ended.
pub(crate) fn main(cli: Cli) -> ExitCode {
    // The trainer is no front end: no runtime, no folders, only its pipes.
    if let Some(Command::Daemon(command)) = &cli.command
        && command.is_trainer()
    {
        return daemon::train();
    }
    let json = cli.command.as_ref().is_some_and(Command::json);
    let ended =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::from).and_then(
            |runtime| {
                let ended = runtime.block_on(run(cli));
                // A blocking read of a terminal must not hold up the end.
                runtime.shutdown_background();
                ended
            },
        );
    exit::code(ended, json)
}

async fn run(cli: Cli) -> Result<Exit, Failure> {
    let paths = Paths::resolve()?;
    match cli.command {
        None => chat(paths).await,
        Some(Command::Ask(command)) => command.run(&paths).await,
        Some(Command::Learn(command)) => command.run(&paths).await,
        Some(Command::Rate(command)) => command.run(&paths).await,
        Some(Command::Adapter(command)) => command.run(&paths).await,
        Some(Command::Stats(command)) => command.run(&paths).await,
        Some(Command::Init(command)) => command.run(&paths).await,
        Some(Command::Connect(command)) => command.run(&paths).await,
        Some(Command::Doctor(command)) => command.run(&paths).await,
        Some(Command::Config(command)) => command.run(&paths),
        Some(Command::Daemon(command)) => command.run(paths).await,
        Some(Command::Cloud(command)) => command.run(&paths).await,
        Some(Command::Completions(command)) => command.run(),
        Some(Command::Man(command)) => command.run(),
    }
}

/// The chat, which needs a terminal on both sides.
async fn chat(paths: Paths) -> Result<Exit, Failure> {
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        return Err(Failure::usage("the chat needs a terminal; without one, ask", "aside ask TEXT"));
    }
    let settings = Settings::load(&paths, &Overrides::default())?;
    open_screen(paths, settings).await
}

/// Opens it at once; the daemon is sought behind the first frame.
async fn open_screen(paths: Paths, settings: Settings) -> Result<Exit, Failure> {
    let theme = match settings.screen.theme {
        Theme::Auto => "auto",
        Theme::Dark => "dark",
        Theme::Light => "light",
        Theme::Ansi => "16",
        Theme::None => "none",
    };
    let options = screen::Options { theme: theme.to_owned(), variant: settings.chat.variant };
    let connect = move || {
        let paths = paths.clone();
        async move {
            match start::daemon(&paths).await {
                Ok(daemon) => Ok(daemon.rpc),
                Err(Failure::Fault(fault) | Failure::Usage(fault)) => Err(fault.into()),
                Err(Failure::Interrupted | Failure::Pipe) => {
                    Err(Fault::new(codes::CANCELLED, "interrupted").into())
                }
            }
        }
    };
    let ended = screen::run(options, connect).await;
    ended.map(|_| Exit::Success).map_err(|report| Fault::internal(format!("{report:#}")).into())
}

impl Command {
    /// Whether a script reads the output, so that errors are events too.
    fn json(&self) -> bool {
        match self {
            Self::Ask(command) => command.json,
            Self::Learn(command) => command.json,
            Self::Adapter(command) => command.json(),
            Self::Stats(command) => command.json,
            Self::Init(command) => command.json,
            Self::Connect(command) => command.json,
            Self::Doctor(command) => command.json,
            Self::Config(command) => command.json(),
            Self::Daemon(command) => command.json(),
            Self::Cloud(command) => command.json(),
            Self::Rate(_) | Self::Completions(_) | Self::Man(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
