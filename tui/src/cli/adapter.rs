//! `aside adapter`: the versions of the side network; measuring them, and going back.

use std::path::PathBuf;

use aside_config::Paths;
use aside_daemon_api::client::Rpc;
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{
    AdapterLogRequest, EvaluateDone, EvaluateRequest, ListAdaptersRequest, ListSourcesRequest,
    RollbackRequest, ShowAdapterRequest, UseAdapterRequest, evaluate_event,
};
use clap::{Args, Subcommand};

use super::exit::{Exit, Failure};
use super::progress::Meter;
use super::report::{
    AdapterReport, DecisionReport, EvalReport, SourceReport, adapter_line, adapter_page, decision_line,
    evaluation_line, source_line,
};
use super::{learn, output, portable, unlock};

/// Shows, measures and rolls back versions of the side network
#[derive(Debug, Args)]
pub(crate) struct Adapter {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists all versions; `*` marks the one in use
    List {
        /// One array
        #[arg(long)]
        json: bool,
    },
    /// Shows one version with its numbers
    Show {
        /// The one in use when left out
        #[arg(value_name = "VERSION")]
        version: Option<u64>,
        /// One object
        #[arg(long)]
        json: bool,
    },
    /// Measures a version on a file of conversations it has not seen
    Eval {
        /// Chat JSON Lines, Markdown or plain text
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The one in use when left out
        #[arg(long)]
        version: Option<u64>,
        /// One object: {"all":E,"own":E,"replies":E}
        #[arg(long)]
        json: bool,
    },
    /// Tells which versions were put in use, which were not, and why
    Log {
        /// One array
        #[arg(long)]
        json: bool,
    },
    /// Turns the adapter off: base answers everywhere, and nothing is lost
    Off,
    /// Turns the adapter on again
    On,
    /// Lists what was learned from: imported files, and conversations by number
    Sources {
        /// One array
        #[arg(long)]
        json: bool,
    },
    /// Forgets what was learned from a conversation or an imported file, and learns anew from the rest
    Forget {
        /// Number of a conversation or name of a file, as `aside adapter sources` lists them
        #[arg(value_name = "CONVERSATION|FILE")]
        source: String,
        /// One event a line
        #[arg(long)]
        json: bool,
    },
    /// Writes a version into a file that a passphrase seals
    Export {
        /// Where to; it must not exist
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The one in use when left out
        #[arg(long)]
        version: Option<u64>,
        /// Reads the passphrase from a file instead of asking
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Puts a version from such a file in use
    Import {
        /// Where from
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Reads the passphrase from a file instead of asking
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// One object
        #[arg(long)]
        json: bool,
    },
    /// Goes back to an older version; 0 is base
    Rollback {
        /// The one before the one in use when left out
        #[arg(value_name = "VERSION")]
        version: Option<u64>,
        /// One object
        #[arg(long)]
        json: bool,
    },
}

impl Adapter {
    /// Whether a script reads the output.
    pub(crate) fn json(&self) -> bool {
        match self.action {
            Action::List { json }
            | Action::Show { json, .. }
            | Action::Eval { json, .. }
            | Action::Log { json }
            | Action::Sources { json }
            | Action::Forget { json, .. }
            | Action::Import { json, .. }
            | Action::Rollback { json, .. } => json,
            Action::Export { .. } | Action::On | Action::Off => false,
        }
    }

    /// Does it.
    pub(crate) async fn run(self, paths: &Paths) -> Result<Exit, Failure> {
        let json = self.json();
        match self.action {
            Action::List { .. } => list(unlock::open(paths).await?, json).await?,
            Action::Show { version, .. } => {
                let version = version.unwrap_or(0);
                let request = ShowAdapterRequest { version };
                let adapter = unlock::open(paths).await?.show_adapter(request).await?.into_inner();
                print(&adapter, json, &adapter_page(&adapter))?;
            }
            Action::Eval { file, version, .. } => {
                let file = learn::read(&file)?;
                let version = version.unwrap_or(0);
                let request = EvaluateRequest { name: file.name, content: file.content, version };
                let rpc = unlock::open(paths).await?;
                let done = tokio::select! {
                    done = evaluate(rpc, request) => done?,
                    _ = tokio::signal::ctrl_c() => return Err(Failure::Interrupted),
                };
                print_evaluation(&done, json)?;
            }
            Action::Log { .. } => log(unlock::open(paths).await?, json).await?,
            action @ (Action::On | Action::Off) => {
                let on = matches!(action, Action::On);
                unlock::open(paths).await?.use_adapter(UseAdapterRequest { on }).await?;
                let text = if on {
                    "The adapter takes part in answers again."
                } else {
                    "The adapter is off: base answers. On again: aside adapter on"
                };
                output::line(text)?;
            }
            Action::Sources { .. } => sources(unlock::open(paths).await?, json).await?,
            Action::Forget { source, .. } => return learn::forget(paths, &source, json).await,
            Action::Export { file, version, passphrase_file } => {
                portable::export(paths, &file, version, passphrase_file).await?;
            }
            Action::Import { file, passphrase_file, .. } => {
                let adapter = portable::import(paths, &file, passphrase_file).await?;
                let text = format!("Version {} ({}) is in use.", adapter.version, adapter.variant);
                print(&adapter, json, &text)?;
            }
            Action::Rollback { version, .. } => {
                let request = RollbackRequest { version };
                let adapter = unlock::open(paths).await?.rollback(request).await?.into_inner();
                let name =
                    if adapter.version == 0 { "0 (base)".to_owned() } else { adapter.version.to_string() };
                print(&adapter, json, &format!("Version {name} is in use."))?;
            }
        }
        Ok(Exit::Success)
    }
}

async fn list(mut rpc: Rpc, json: bool) -> Result<(), Failure> {
    let adapters = rpc.list_adapters(ListAdaptersRequest {}).await?.into_inner().adapters;
    if json {
        output::json(&adapters.iter().map(AdapterReport::from).collect::<Vec<_>>())?;
        return Ok(());
    }
    if adapters.iter().all(|adapter| adapter.version == 0) {
        output::notice("Nothing is learned yet; teach it with: aside learn FILE");
    }
    for adapter in &adapters {
        output::line(&adapter_line(adapter))?;
    }
    Ok(())
}

async fn log(mut rpc: Rpc, json: bool) -> Result<(), Failure> {
    let decisions = rpc.adapter_log(AdapterLogRequest {}).await?.into_inner().decisions;
    if json {
        output::json(&decisions.iter().map(DecisionReport::from).collect::<Vec<_>>())?;
        return Ok(());
    }
    if decisions.is_empty() {
        output::notice("Nothing was decided yet; teach it with: aside learn FILE");
    }
    for decision in &decisions {
        output::line(&decision_line(decision))?;
    }
    Ok(())
}

async fn sources(mut rpc: Rpc, json: bool) -> Result<(), Failure> {
    let sources = rpc.list_sources(ListSourcesRequest {}).await?.into_inner().sources;
    if json {
        output::json(&sources.iter().map(SourceReport::from).collect::<Vec<_>>())?;
        return Ok(());
    }
    if sources.is_empty() {
        output::notice("Nothing is learned yet; teach it with: aside learn FILE");
    }
    for source in &sources {
        output::line(&source_line(source))?;
    }
    Ok(())
}

async fn evaluate(mut rpc: Rpc, request: EvaluateRequest) -> Result<EvaluateDone, Failure> {
    // Stdout holds one object or the numbers; progress goes beside it.
    let mut meter = Meter::on_stderr();
    let mut events = rpc.evaluate(request).await?.into_inner();
    while let Some(event) = events.message().await? {
        match event.event {
            Some(evaluate_event::Event::Progress(progress)) => meter.show(&progress)?,
            Some(evaluate_event::Event::Done(done)) => return Ok(done),
            None => {}
        }
    }
    Err(Fault::new(codes::INTERNAL, "the daemon ended before the evaluation did").into())
}

fn print_evaluation(done: &EvaluateDone, json: bool) -> std::io::Result<()> {
    if done.learned > 0 {
        output::notice(&format!(
            "{} of {} turns are lessons: on what was learned these numbers say little.",
            done.learned, done.turns
        ));
    }
    if done.refused > 0 {
        output::notice(&format!("{} conversations do not fit the model's chat template.", done.refused));
    }
    if json {
        return output::json(&EvalReport::from(done));
    }
    for (name, part) in [("all", &done.all), ("own", &done.own), ("replies", &done.replies)] {
        output::line(&format!("{name:8} {}", evaluation_line(&part.unwrap_or_default())))?;
    }
    Ok(())
}

fn print(adapter: &aside_daemon_api::proto::Adapter, json: bool, text: &str) -> std::io::Result<()> {
    if json { output::json(&AdapterReport::from(adapter)) } else { output::line(text) }
}
