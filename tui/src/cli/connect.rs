//! `aside connect`: uses a remote cloud from now on, or again the one on this machine.

use aside_config::Paths;
use aside_daemon_api::client::Rpc;
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{ConnectDone, ConnectRequest, connect_event};
use clap::Args;

use super::events::Event;
use super::exit::{Exit, Failure};
use super::progress::Meter;
use super::{output, unlock};

/// Uses a cloud elsewhere, or `local` for the one on this machine
///
/// The URI comes from `aside cloud invite` on the other machine; its secret works once.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// `aside://HOST:PORT/KEY#SECRET`, or `local`
    uri: String,
    /// One event a line
    #[arg(long)]
    pub(crate) json: bool,
}

impl Connect {
    /// Connects.
    pub(crate) async fn run(self, paths: &Paths) -> Result<Exit, Failure> {
        let rpc = unlock::open(paths).await?;
        let mut meter = Meter::new(self.json);
        let done = tokio::select! {
            done = follow(rpc, self.uri, &mut meter) => done?,
            _ = tokio::signal::ctrl_c() => return Err(Failure::Interrupted),
        };
        drop(meter);
        let model = done.model.unwrap_or_default();
        if self.json {
            output::json(&Event::Connected { model: &model.name })?;
        } else {
            output::line(&format!("Connected: {} ({} parameters).", model.name, model.parameters))?;
        }
        Ok(Exit::Success)
    }
}

async fn follow(mut rpc: Rpc, uri: String, meter: &mut Meter) -> Result<ConnectDone, Failure> {
    let mut events = rpc.connect(ConnectRequest { uri }).await?.into_inner();
    while let Some(event) = events.message().await? {
        match event.event {
            Some(connect_event::Event::Progress(progress)) => meter.show(&progress)?,
            Some(connect_event::Event::Done(done)) => return Ok(done),
            None => {}
        }
    }
    Err(Fault::new(codes::INTERNAL, "the daemon ended before it was connected").into())
}
