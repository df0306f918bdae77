//! `aside connect`: tries the new cloud, keeps it, switches. A cloud that does not answer changes nothing.

use std::sync::Arc;

use aside_daemon_api::fault::Fault;
use aside_daemon_api::proto::{ConnectDone, ConnectEvent, LearnProgress, connect_event};
use tokio::sync::mpsc;

use super::hub::Hub;
use super::status::model_info;
use super::unlock::identity;
use crate::cloud::{self, CloudConfig, PLACE, Place};
use crate::faults::blocking;

type Sink = mpsc::Sender<Result<ConnectEvent, tonic::Status>>;

/// Switches to `uri`; the last event holds the model there.
pub(super) async fn connect(hub: Arc<Hub>, uri: String, sink: Sink) {
    if let Err(fault) = switch(&hub, &uri, &sink).await {
        let _ = sink.send(Err(fault.into())).await;
    }
}

async fn switch(hub: &Arc<Hub>, uri: &str, sink: &Sink) -> Result<(), Fault> {
    let place = Place::parse(uri)?;
    let vault = hub.open_vault()?;
    let identity = identity(&vault).await?;
    if let Place::Remote(uri) = &place {
        progress(sink, 0, &format!("asking {}", place.name())).await;
        let config = CloudConfig {
            paths: hub.paths().clone(),
            model: String::new(),
            executable: hub.executable.clone(),
            build: hub.build().to_owned(),
        };
        cloud::connect(&config, uri, &identity).await?;
    }
    let stored = place.stored();
    blocking(move || vault.put_meta(PLACE, stored.as_bytes())).await?;
    progress(sink, 1, "connecting").await;
    hub.cloud.start(identity, place).await;
    let connected = hub.cloud.connected(std::time::Duration::from_secs(60)).await?;
    let done = ConnectDone { model: Some(model_info(&connected.model)) };
    let _ = sink.send(Ok(ConnectEvent { event: Some(connect_event::Event::Done(done)) })).await;
    Ok(())
}

async fn progress(sink: &Sink, done: u64, detail: &str) {
    let progress = LearnProgress { done, total: 2, detail: detail.to_owned(), ..LearnProgress::default() };
    let _ = sink.send(Ok(ConnectEvent { event: Some(connect_event::Event::Progress(progress)) })).await;
}
