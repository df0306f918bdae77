//! `aside config`: where things lie, what may be set, and what is set.

use aside_config::{DEFAULT_TEXT, Overrides, Paths, Settings};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::output;

/// Prints settings and folders
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The commented defaults, ready to be saved as the configuration file
    Default,
    /// The configuration file's path
    Path,
    /// All folders
    Folders {
        /// One object
        #[arg(long)]
        json: bool,
    },
    /// The settings that hold, from all layers, as JSON
    Show,
}

#[derive(Serialize)]
struct Folders {
    config_file: String,
    data: String,
    cache: String,
    state: String,
    runtime: String,
}

impl Config {
    /// Whether a script reads the output.
    pub(crate) fn json(&self) -> bool {
        matches!(self.action, Some(Action::Folders { json: true } | Action::Show))
    }

    /// Prints it; without a word more, the commented defaults.
    pub(crate) fn run(self, paths: &Paths) -> Result<Exit, Failure> {
        match self.action.unwrap_or(Action::Default) {
            Action::Default => output::piece(DEFAULT_TEXT)?,
            Action::Path => output::line(&paths.config_file.display().to_string())?,
            Action::Folders { json } => folders(paths, json)?,
            Action::Show => output::json(&Settings::load(paths, &Overrides::default())?)?,
        }
        Ok(Exit::Success)
    }
}

fn folders(paths: &Paths, json: bool) -> std::io::Result<()> {
    let all = Folders {
        config_file: paths.config_file.display().to_string(),
        data: paths.data_dir.display().to_string(),
        cache: paths.cache_dir.display().to_string(),
        state: paths.state_dir.display().to_string(),
        runtime: paths.runtime_dir.display().to_string(),
    };
    if json {
        return output::json(&all);
    }
    output::line(&format!(
        "config   {}\ndata     {}\ncache    {}\nstate    {}\nruntime  {}",
        all.config_file, all.data, all.cache, all.state, all.runtime
    ))
}
