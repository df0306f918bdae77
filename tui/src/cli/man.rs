//! `aside man`: manual pages from the very definitions that the parser uses.

use std::io;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man as Page;

use super::exit::{Exit, Failure};
use super::output;

/// Prints the manual page (`aside man | man -l -`)
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Of this command, for example `adapter eval`; the whole when left out
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

impl Man {
    /// Prints it.
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let mut command = super::Cli::command();
        command.build();
        for name in self.command {
            let Some(inner) = command.find_subcommand(&name).cloned() else {
                return Err(Failure::usage(&format!("there is no command {name}"), "aside --help"));
            };
            command = inner;
        }
        output::piece(&page(command)?)?;
        Ok(Exit::Success)
    }
}

fn page(command: Command) -> io::Result<String> {
    let mut text = Vec::new();
    Page::new(command).render(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_visible_command() {
        let command = super::super::Cli::command();
        let names: Vec<String> =
            command.get_subcommands().filter(|c| !c.is_hide_set()).map(|c| c.get_name().to_owned()).collect();
        let page = page(command).unwrap();
        for name in names {
            assert!(page.contains(&format!("aside\\-{name}")), "{name}");
        }
    }
}
