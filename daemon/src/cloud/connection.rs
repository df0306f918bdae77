//! The one connection to the cloud: started when the vault opens, switched by `connect`, watched by the status.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aside_cloud_api::identity::Identity;
use aside_cloud_api::link::Limits;
use aside_cloud_api::link::client::{Link, LinkConfig, State};
use aside_cloud_api::proto::Model;
use aside_cloud_api::uri::Uri;
use aside_config::Paths;
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::LinkState;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Place, Sessions, fetch_fault, link_fault, local};
use crate::kit::{Kit, cache};

/// What the cloud side of the daemon needs.
#[derive(Debug, Clone)]
pub struct CloudConfig {
    /// Folders.
    pub paths: Paths,
    /// Folder of a model for a local cloud; empty is the bundled one.
    pub model: String,
    /// The binary that serves a local cloud.
    pub executable: PathBuf,
    /// Build of this daemon.
    pub build: String,
}

/// What the status shows.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// State of the link.
    pub state: LinkState,
    /// Why, where it is not up.
    pub detail: String,
    /// "local" or host:port.
    pub place: String,
    /// Round trip in microseconds; 0 while unknown.
    pub rtt_us: u64,
    /// The backbone, once known.
    pub model: Option<Model>,
    /// A local cloud that ends whenever it is started: waiting does not help.
    pub hopeless: bool,
}

impl View {
    fn new(place: &str, detail: &str) -> Self {
        Self {
            state: LinkState::Connecting,
            detail: detail.to_owned(),
            place: place.to_owned(),
            rtt_us: 0,
            model: None,
            hopeless: false,
        }
    }
}

/// A link that is up, with what belongs to it.
#[derive(Clone)]
pub struct Connected {
    /// The link.
    pub link: Link,
    /// Its sessions.
    pub sessions: Arc<Sessions>,
    /// The backbone.
    pub model: Model,
    /// Its kit.
    pub kit: Arc<Kit>,
}

/// A handle.
#[derive(Clone)]
pub struct Cloud(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) config: CloudConfig,
    pub(super) view: watch::Sender<View>,
    current: watch::Sender<Option<(Link, Arc<Sessions>)>>,
    running: Mutex<Option<(CancellationToken, JoinHandle<()>)>>,
    kit: tokio::sync::Mutex<Option<Arc<Kit>>>,
}

impl Cloud {
    /// Not connected yet.
    #[must_use]
    pub fn new(config: CloudConfig) -> Self {
        Self(Arc::new(Shared {
            config,
            view: watch::Sender::new(View::new("local", "waiting for the vault")),
            current: watch::Sender::new(None),
            running: Mutex::new(None),
            kit: tokio::sync::Mutex::new(None),
        }))
    }

    /// The state now and after every change.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<View> {
        self.0.view.subscribe()
    }

    /// Connects to `place`, after leaving where it was.
    pub async fn start(&self, identity: Identity, place: Place) {
        self.stop().await;
        self.0.view.send_replace(View::new(&place.name(), ""));
        let stop = CancellationToken::new();
        let (shared, token) = (Arc::clone(&self.0), stop.clone());
        let task = tokio::spawn(async move {
            match place {
                Place::Local => local::supervise(&shared, &identity, &token).await,
                Place::Remote(uri) => {
                    let link = shared.link(&uri, &identity);
                    token.run_until_cancelled(shared.follow(&link)).await;
                }
            }
            shared.leave().await;
        });
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) = Some((stop, task));
    }

    /// Leaves the cloud and ends a local one.
    pub async fn stop(&self) {
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, task)) = running {
            stop.cancel();
            let _ = task.await;
        }
    }

    /// Waits at most `patience` for a link that is up, and gets the kit.
    ///
    /// # Errors
    /// Faults `cloud-away`, `cloud-refused`, or what keeps the kit from being read.
    pub async fn connected(&self, patience: Duration) -> Result<Connected, Fault> {
        let up = tokio::time::timeout(patience, self.up());
        let (link, sessions, model) = up.await.unwrap_or_else(|_| Err(self.away()))?;
        let kit = self.kit(&link, &model).await?;
        Ok(Connected { link, sessions, model, kit })
    }

    async fn up(&self) -> Result<(Link, Arc<Sessions>, Model), Fault> {
        let (mut current, mut view) = (self.0.current.subscribe(), self.0.view.subscribe());
        loop {
            let now = current.borrow_and_update().clone();
            let hopeless = view.borrow_and_update().hopeless;
            if hopeless {
                return Err(self.away());
            }
            let Some((link, sessions)) = now else {
                tokio::select! {
                    changed = current.changed() => changed.map_err(|_| self.away())?,
                    changed = view.changed() => changed.map_err(|_| self.away())?,
                }
                continue;
            };
            tokio::select! {
                model = link.ready() => match model {
                    Ok(model) => return Ok((link, sessions, model)),
                    Err(error @ aside_cloud_api::link::LinkError::Refused(_)) => return Err(link_fault(&error)),
                    // It was left for another.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                changed = current.changed() => changed.map_err(|_| self.away())?,
                changed = view.changed() => changed.map_err(|_| self.away())?,
            }
        }
    }

    fn away(&self) -> Fault {
        let view = self.0.view.borrow().clone();
        let why = if view.detail.is_empty() { "it does not answer" } else { &view.detail };
        Fault::new(codes::CLOUD_AWAY, format!("the cloud ({}) is away: {why}", view.place))
            .repair("aside doctor")
    }

    /// The kit of `model`, from memory, disk or the cloud.
    async fn kit(&self, link: &Link, model: &Model) -> Result<Arc<Kit>, Fault> {
        // One fetches, the others wait for it.
        let mut known = self.0.kit.lock().await;
        if let Some(kit) = known.as_ref().filter(|kit| kit.sha256() == model.kit) {
            return Ok(Arc::clone(kit));
        }
        let fetched = cache::get(&self.0.config.paths.kits_dir(), link, model).await;
        let kit = fetched.map_err(|error| fetch_fault(&error))?;
        if kit.model() != model.id {
            return Err(Fault::internal("the cloud's kit belongs to another model").repair("aside doctor"));
        }
        *known = Some(Arc::clone(&kit));
        Ok(kit)
    }
}

impl Shared {
    /// Starts the link and makes it the current one.
    pub(super) fn link(&self, uri: &Uri, identity: &Identity) -> Link {
        let link = Link::start(LinkConfig {
            address: uri.address.clone(),
            server_key: uri.key,
            identity: identity.clone(),
            secret: None,
            private_dir: self.config.paths.runtime_dir.join("link"),
            limits: Limits::default(),
            build: self.config.build.clone(),
        });
        self.current.send_replace(Some((link.clone(), Arc::default())));
        link
    }

    /// Shows the link's state until it is closed.
    pub(super) async fn follow(&self, link: &Link) {
        let mut states = link.state();
        loop {
            let state = states.borrow_and_update().clone();
            self.view.send_modify(|view| show(view, state));
            if states.changed().await.is_err() {
                return;
            }
        }
    }

    async fn leave(&self) {
        if let Some((link, _)) = self.current.send_replace(None) {
            link.close().await;
        }
    }
}

fn show(view: &mut View, state: State) {
    match state {
        State::Connecting => view.state = LinkState::Connecting,
        State::Up { model, rtt } => {
            view.state = LinkState::Up;
            view.detail.clear();
            view.rtt_us = u64::try_from(rtt.as_micros()).unwrap_or(0);
            view.model = Some(*model);
            view.hopeless = false;
        }
        State::Away { why } => {
            view.state = LinkState::Away;
            view.detail = why;
        }
        State::Refused { why } => {
            view.state = LinkState::Refused;
            view.detail = why;
        }
    }
}
