//! What the calls share: the vault's state, the cloud, the adapter in use, and which answers run.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aside_adapter::Adapter;
use aside_config::{Paths, Settings};
use aside_daemon_api::fault::{Fault, codes};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::RunConfig;
use crate::cloud::{Cloud, CloudConfig};
use crate::faults::{blocking, vault_fault};
use crate::keys::KeyStore;
use crate::learn::{Context, Learner, catch_up};
use crate::vault::{AdapterRow, Vault};

const AT_ONCE: usize = 5;

/// State of the vault.
#[derive(Clone)]
pub(super) enum VaultView {
    /// None yet.
    Absent,
    /// Locked; why, once its keys were tried.
    Locked(String),
    /// Open.
    Open(Vault),
    /// Unreadable; why.
    Damaged(String),
}

/// An adapter in memory.
#[derive(Clone)]
pub(super) struct InMemory {
    /// Its row.
    pub(super) row: AdapterRow,
    /// Its networks, and the memory with what was learned since.
    pub(super) adapter: Arc<Adapter>,
    /// [`Vault::states_mark`] of that memory.
    mark: i64,
}

/// The version in use, and newer ones that did not verify.
#[derive(Clone, Default)]
pub(super) struct InUse {
    /// None is base.
    pub(super) adapter: Option<InMemory>,
    /// Versions passed over.
    pub(super) damaged: Vec<u64>,
}

/// Shared by all calls.
pub struct Hub {
    pub(super) config: RunConfig,
    pub(super) started: Instant,
    pub(super) executable: PathBuf,
    pub(super) stop: CancellationToken,
    pub(super) vault: watch::Sender<VaultView>,
    /// One attempt to open the vault at a time.
    pub(super) opening: tokio::sync::Mutex<()>,
    pub(super) cloud: Cloud,
    pub(super) learner: Arc<Learner>,
    /// Number of answers that run.
    pub(super) answers: watch::Sender<usize>,
    /// Answers that may use the link at a time: the cloud admits eight requests of a client, and learning needs some.
    pub(super) at_once: Semaphore,
    /// When the last answer ended or began.
    last_used: Mutex<Option<Instant>>,
    /// Ends what learns by itself, while it does.
    by_itself: watch::Sender<Option<CancellationToken>>,
    /// What keeps it from learning by itself, in words.
    pub(super) why: watch::Sender<String>,
    /// Counts what changes the numbers of the status: answers kept, lessons, versions.
    pub(super) changes: watch::Sender<u64>,
    busy: Mutex<BTreeSet<i64>>,
    adapter: Mutex<Option<InMemory>>,
    tasks: TaskTracker,
}

impl Hub {
    pub(super) fn new(config: RunConfig, stop: CancellationToken) -> std::io::Result<Arc<Self>> {
        let executable = std::env::current_exe()?;
        let cloud = Cloud::new(CloudConfig {
            paths: config.paths.clone(),
            model: config.settings.cloud.model.clone(),
            executable: executable.clone(),
            build: config.build.clone(),
        });
        let found = found(&config.paths);
        Ok(Arc::new(Self {
            config,
            started: Instant::now(),
            executable,
            stop,
            vault: watch::Sender::new(found),
            opening: tokio::sync::Mutex::new(()),
            cloud,
            learner: Arc::default(),
            answers: watch::Sender::new(0),
            at_once: Semaphore::new(AT_ONCE),
            last_used: Mutex::default(),
            by_itself: watch::Sender::new(None),
            why: watch::Sender::new("it has not looked yet".to_owned()),
            changes: watch::Sender::new(0),
            busy: Mutex::default(),
            adapter: Mutex::default(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Which build this is.
    #[must_use]
    pub fn build(&self) -> &str {
        &self.config.build
    }

    pub(super) fn paths(&self) -> &Paths {
        &self.config.paths
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.config.settings
    }

    pub(super) fn keys(&self) -> KeyStore {
        KeyStore::at(&self.config.paths.data_dir)
    }

    /// Runs to its end even when the daemon stops; at most for a while.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn(work)
    }

    /// The open vault.
    ///
    /// # Errors
    /// Faults `no-vault`, `locked` and `damaged`.
    pub(super) fn open_vault(&self) -> Result<Vault, Fault> {
        match &*self.vault.borrow() {
            VaultView::Open(vault) => Ok(vault.clone()),
            VaultView::Absent => Err(Fault::new(codes::NO_VAULT, "there is no vault yet")
                .repair("aside init --key keyring|passphrase|file")),
            VaultView::Locked(why) if why.is_empty() => Err(Fault::new(codes::LOCKED, "the vault is locked")
                .repair("ASIDE_PASSPHRASE_FILE=FILE aside ...")),
            VaultView::Locked(why) => {
                Err(Fault::new(codes::LOCKED, format!("the vault is locked: {why}")).repair("aside doctor"))
            }
            VaultView::Damaged(why) => Err(Fault::new(codes::DAMAGED, why).repair("aside doctor")),
        }
    }

    /// The adapter in use, read and verified once.
    pub(super) async fn adapter(&self) -> Result<InUse, Fault> {
        let vault = self.open_vault()?;
        let known = self.remembered();
        let (version, mark) = {
            let vault = vault.clone();
            blocking(move || Ok((vault.version_in_use()?, vault.states_mark()?))).await?
        };
        if let Some(known) = known.filter(|known| known.row.version == version && known.mark == mark) {
            return Ok(InUse { adapter: Some(known), damaged: Vec::new() });
        }
        let loaded = tokio::task::spawn_blocking(move || -> Result<InUse, Fault> {
            let found = vault.adapter_in_use().map_err(|error| vault_fault(&error))?;
            let Some((row, bytes)) = found.adapter else {
                return Ok(InUse { adapter: None, damaged: found.damaged });
            };
            let damaged = |why: String| Fault::new(codes::DAMAGED, why).repair("aside adapter rollback");
            let mut adapter = match Adapter::from_bytes(&bytes) {
                Ok(adapter) => adapter,
                // It verified, so an older build wrote it: base answers until it is learned anew.
                Err(error) => {
                    tracing::warn!(version = row.version, %error, "the version in use cannot be read");
                    let damaged = found.damaged.into_iter().chain([row.version]).collect();
                    return Ok(InUse { adapter: None, damaged });
                }
            };
            catch_up(&mut adapter, &vault, row.version, &row.model)
                .map_err(|error| damaged(error.to_string()))?;
            let adapter = Some(InMemory { row, adapter: Arc::new(adapter), mark });
            Ok(InUse { adapter, damaged: found.damaged })
        });
        let loaded = loaded.await.map_err(|_| Fault::internal("reading the adapter failed"))??;
        *self.adapter.lock().unwrap_or_else(PoisonError::into_inner) = loaded.adapter.clone();
        Ok(loaded)
    }

    fn remembered(&self) -> Option<InMemory> {
        self.adapter.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One answer at a time in a conversation.
    pub(super) fn begin(self: &Arc<Self>, conversation: Option<i64>) -> Result<Running, Fault> {
        conversation.map_or(Ok(()), |id| self.occupy(id))?;
        self.used();
        self.answers.send_modify(|running| *running += 1);
        Ok(Running { hub: Arc::clone(self), conversation })
    }

    fn occupy(&self, conversation: i64) -> Result<(), Fault> {
        if self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(conversation) {
            return Ok(());
        }
        Err(Fault::new(codes::BUSY, "an answer runs in this conversation; stop it first"))
    }

    /// Counts as learning by itself, which `stop` ends, until it is dropped.
    pub(super) fn learning(self: &Arc<Self>, stop: CancellationToken) -> Learns {
        self.by_itself.send_replace(Some(stop));
        Learns(Arc::clone(self))
    }

    /// Ends learning by itself, for someone who asks for it goes first.
    pub(super) async fn give_way(&self) {
        let mut by_itself = self.by_itself.subscribe();
        if let Some(stop) = by_itself.borrow_and_update().as_ref() {
            stop.cancel();
        }
        let _ = by_itself.wait_for(Option::is_none).await;
    }

    fn used(&self) {
        *self.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Since the last answer; `None` when there was none.
    pub(super) fn unused_for(&self) -> Option<Duration> {
        if *self.answers.borrow() > 0 {
            return Some(Duration::ZERO);
        }
        self.last_used.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }

    /// What the learner works with.
    pub(super) fn context(&self) -> Result<Context, Fault> {
        Ok(Context {
            vault: self.open_vault()?,
            cloud: self.cloud.clone(),
            settings: self.config.settings.clone(),
            executable: self.executable.clone(),
            answers: self.answers.subscribe(),
            stop: self.stop.clone(),
        })
    }

    /// Something that the status counts has changed.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Ends everything in order: answers, the cloud, the vault.
    pub(super) async fn close(&self, grace: Duration) {
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!("some work did not end in time");
        }
        self.cloud.stop().await;
        if let Ok(vault) = self.open_vault()
            && let Err(fault) = blocking(move || vault.checkpoint_wal()).await
        {
            tracing::warn!(%fault, "the vault's log stays beside it");
        }
    }
}

/// It learns by itself.
pub(super) struct Learns(Arc<Hub>);

impl Drop for Learns {
    fn drop(&mut self) {
        self.0.by_itself.send_replace(None);
    }
}

/// An answer that runs.
pub(super) struct Running {
    hub: Arc<Hub>,
    conversation: Option<i64>,
}

impl Running {
    /// In a conversation that is new.
    ///
    /// # Errors
    /// `busy` when somebody else was quicker in it.
    pub(super) fn inside(&mut self, conversation: i64) -> Result<(), Fault> {
        if self.conversation.is_none() {
            self.hub.occupy(conversation)?;
            self.conversation = Some(conversation);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(id) = self.conversation {
            self.hub.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        }
        self.hub.used();
        self.hub.answers.send_modify(|running| *running -= 1);
        self.hub.changed();
    }
}

/// What lies on disk.
fn found(paths: &Paths) -> VaultView {
    let keys = KeyStore::at(&paths.data_dir).exists();
    match (keys, paths.vault_file().exists()) {
        (false, false) => VaultView::Absent,
        (false, true) => {
            VaultView::Damaged("its key slots (slots.json) are gone; put them back from a copy".into())
        }
        (true, _) => VaultView::Locked(String::new()),
    }
}
