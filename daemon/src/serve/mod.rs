//! The daemon's life: one instance, a private socket, calls, and a clean end. It answers before vault and cloud are
//! ready; one failing part never ends the others.

mod adapters;
mod ask;
mod chat;
mod connect;
mod doctor;
mod hub;
mod idle;
mod instance;
mod numbers;
mod portable;
mod rpc;
mod status;
mod unlock;

use std::sync::Arc;
use std::time::Duration;

use aside_config::{Paths, PrivateDirError, Settings, make_private_dir};
use aside_daemon_api::MAX_MESSAGE;
use aside_daemon_api::proto::aside_server::AsideServer;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub use hub::Hub;
pub use instance::InstanceError;

/// How long calls may take to end once the daemon stops.
const GRACE: Duration = Duration::from_secs(5);

/// What a daemon needs to run.
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// Folders.
    pub paths: Paths,
    /// Settings, as loaded at its start.
    pub settings: Settings,
    /// Which build this is.
    pub build: String,
}

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A folder cannot be made private.
    #[error(transparent)]
    Folder(#[from] PrivateDirError),
    /// Another one runs, or the socket cannot be made.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Serving ended.
    #[error("the daemon's socket failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// [`RunError`] when it cannot start.
pub async fn run(config: RunConfig) -> Result<(), RunError> {
    let stop = CancellationToken::new();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        token.cancel();
    });
    run_until(config, stop).await
}

/// As [`run`], until `stop`; for tests.
///
/// # Errors
/// As [`run`].
pub async fn run_until(config: RunConfig, stop: CancellationToken) -> Result<(), RunError> {
    let paths = &config.paths;
    paths.make_runtime_dir()?;
    for folder in [&paths.data_dir, &paths.state_dir] {
        make_private_dir(folder)?;
    }
    let instance = instance::Instance::acquire(paths)?;
    let listener = instance.listen().await?;
    let hub = Hub::new(config, stop.clone())?;
    tracing::info!(build = hub.build(), "the daemon runs");
    hub.spawn(unlock::by_itself(Arc::clone(&hub)));
    hub.spawn(idle::watch(Arc::clone(&hub)));
    let service = AsideServer::new(rpc::Service(Arc::clone(&hub)))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let server = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(instance::accepted(listener), stop.clone().cancelled_owned());
    tokio::pin!(server);
    let served = tokio::select! {
        served = &mut server => served,
        () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => Ok(()),
    };
    stop.cancel();
    hub.close(GRACE).await;
    instance.release();
    tracing::info!("the daemon has stopped");
    Ok(served?)
}
