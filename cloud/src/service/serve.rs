//! `aside cloud serve`: load, listen, say where, and run until told to end.

use super::admission::{Files, Gatekeeper};
use super::engine_thread;
use super::requests::{Desk, describe};
use crate::engine::{self, EngineError, Loaded, Precision};
use aside_cloud_api::identity::PublicKey;
use aside_cloud_api::link::server::{Server, ServerConfig};
use aside_cloud_api::link::{Address, Limits, LinkError};
use aside_cloud_api::uri::Uri;
use std::collections::HashMap;
use std::fmt::Display;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// Orders that wait for the engine; a full queue slows the clients down.
const ORDERS: usize = 256;

/// Which backbone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// The one in the binary.
    Bundled,
    /// A Hugging Face folder.
    Folder(PathBuf, Precision),
}

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Which backbone.
    pub model: ModelSource,
    /// Where to listen.
    pub address: Address,
    /// Identity, allow-list and invitations; made with mode 0700.
    pub state_dir: PathBuf,
    /// Keys admitted besides those on the list.
    pub allow: Vec<PublicKey>,
    /// The inner socket's folder; made with mode 0700.
    pub private_dir: PathBuf,
    /// End when standard input closes.
    pub parent_pipe: bool,
}

/// Why a cloud does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The model does not load.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The sockets cannot be bound.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A file of the state folder.
    #[error("{}: {why}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An invitation to a cloud that never ran.
    #[error("no cloud was served from this machine yet, so there is nothing to invite to")]
    NeverServed,
    /// No randomness.
    #[error("the system gives no random numbers")]
    Random,
    /// Signals cannot be watched, or a thread not started.
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
    /// The engine's thread ended.
    #[error("the engine stopped")]
    EngineStopped,
}

impl ServiceError {
    pub(super) fn file(path: &Path, why: &dyn Display) -> Self {
        Self::File { path: path.to_owned(), why: why.to_string() }
    }
}

/// Serves until SIGTERM, Ctrl+C or, with `parent_pipe`, the end of standard input. `ready` is told the URI once
/// clients can connect.
///
/// # Errors
/// [`ServiceError`] when it cannot start, or the engine stops.
pub async fn serve(config: ServeConfig, ready: impl FnOnce(&Uri)) -> Result<(), ServiceError> {
    let mut ends = Ends::watch(config.parent_pipe)?;
    let model = config.model.clone();
    let loading = tokio::task::spawn_blocking(move || match model {
        ModelSource::Bundled => engine::bundled(),
        ModelSource::Folder(folder, precision) => engine::load(&folder, precision),
    });
    let Loaded { backbone, kit } = tokio::select! {
        loaded = loading => loaded.map_err(|_| ServiceError::EngineStopped)??,
        () = ends.wait() => return Ok(()),
    };
    let files = Files::open(&config.state_dir)?;
    let identity = files.identity()?;
    let key = identity.public();
    let mut server = Server::bind(ServerConfig {
        address: config.address,
        identity,
        admission: Arc::new(Gatekeeper { files: files.clone(), also: config.allow }),
        limits: Limits::default(),
        private_dir: config.private_dir,
    })
    .await?;
    let uri = Uri { address: server.address().clone(), key, secret: None };
    files.remember(&uri)?;
    let model = describe(backbone.spec(), &kit);
    tracing::info!(model = model.id, address = %uri.address, "serving");
    if !kit.prepared {
        tracing::info!(
            "not prepared: a device's memory serves only once it has learned; aside cloud prepare MODEL"
        );
    }
    let (orders, inbox) = mpsc::channel(ORDERS);
    let (stopped, engine_stopped) = oneshot::channel::<()>();
    std::thread::Builder::new().name("engine".into()).spawn(move || {
        engine_thread::run(backbone, inbox);
        // Nobody listens any more when the service has ended first.
        let _ = stopped.send(());
    })?;
    ready(&uri);
    let desk = Desk { orders, replies: server.replies(), kit, model, exchanges: HashMap::new() };
    let ended = tokio::select! {
        () = desk.run(&mut server) => Err(ServiceError::EngineStopped),
        _ = engine_stopped => Err(ServiceError::EngineStopped),
        () = ends.wait() => Ok(()),
    };
    server.shutdown().await;
    ended
}

/// What may end a service.
struct Ends {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    pipe: Option<oneshot::Receiver<()>>,
}

impl Ends {
    fn watch(parent_pipe: bool) -> Result<Self, ServiceError> {
        let pipe = parent_pipe.then(|| {
            let (closed, pipe) = oneshot::channel();
            std::thread::spawn(move || {
                let mut bytes = [0; 256];
                while matches!(std::io::stdin().read(&mut bytes), Ok(n) if n > 0) {}
                let _ = closed.send(());
            });
            pipe
        });
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())?, pipe })
    }

    async fn wait(&mut self) {
        let pipe = async {
            match &mut self.pipe {
                Some(pipe) => drop(pipe.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = pipe => {}
        }
    }
}
