//! The daemon in this process: a real vault, the real link, the real backbone.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::path::Path;
use std::time::Duration;

use aside_adapter::{Adapter, Shape, Variant};
use aside_cloud_api::identity::{Identity, PublicKey};
use aside_config::{GatePlace, Paths, Settings, make_private_dir};
use aside_daemon::keys::{KeyStore, SlotKind};
use aside_daemon::serve::{RunConfig, run_until};
use aside_daemon::vault::{Decision, NewAdapter, Vault};
use aside_daemon_api::client::{Rpc, connect};
use aside_daemon_api::fault::Fault;
use aside_daemon_api::proto::{
    AskDone, AskRequest, AskToken, GetConversationRequest, LinkState, RollbackRequest, Source, StatsRequest,
    StatusReply, StatusRequest, StopRequest, VaultState, ask_event,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const QUESTION: &str = "Hi! What do you like to do?";

/// A daemon and its cloud in one folder.
struct Room {
    dir: tempfile::TempDir,
    paths: Paths,
    cloud: Option<JoinHandle<()>>,
    daemon: Option<JoinHandle<()>>,
    client: PublicKey,
}

impl Room {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::Builder::new().prefix("aside-").tempdir().unwrap();
        let paths = Paths::under(dir.path());
        make_private_dir(&paths.data_dir).unwrap();
        let identity = Identity::generate().unwrap();
        let key = KeyStore::at(&paths.data_dir).create(SlotKind::File, None).unwrap();
        let vault = Vault::create(&paths.vault_file(), &key).unwrap();
        vault.put_meta("device.identity", identity.to_pkcs8()).unwrap();
        drop(vault);
        let mut room = Self { dir, paths, cloud: None, daemon: None, client: identity.public() };
        let uri = room.start_cloud().await;
        let mut settings = Settings::default();
        settings.cloud.uri = uri;
        change(&mut settings);
        room.start_daemon(settings);
        room
    }

    async fn start_cloud(&mut self) -> String {
        let (service, uri) = support::cloud(&self.dir.path().join("cloud"), self.client).await;
        self.cloud = Some(service);
        uri
    }

    /// As kill -9 does it: nothing is said, connections break.
    async fn kill_cloud(&mut self) {
        let cloud = self.cloud.take().unwrap();
        cloud.abort();
        let _ = cloud.await;
    }

    fn start_daemon(&mut self, settings: Settings) {
        let config = RunConfig { paths: self.paths.clone(), settings, build: "test".into() };
        self.daemon =
            Some(tokio::spawn(async move { run_until(config, CancellationToken::new()).await.unwrap() }));
    }

    /// A connection, once the vault is open.
    async fn rpc(&self) -> Rpc {
        let mut rpc = loop {
            match connect(&self.paths.socket()).await {
                Ok(rpc) => break rpc,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        until(&mut rpc, |status| status.vault() == VaultState::Open).await;
        rpc
    }

    async fn stop(mut self) -> Self {
        self.rpc().await.stop(StopRequest {}).await.unwrap();
        self.daemon.take().unwrap().await.unwrap();
        self.kill_cloud().await;
        self
    }
}

async fn until(rpc: &mut Rpc, good: impl Fn(&StatusReply) -> bool) -> StatusReply {
    let mut statuses = rpc.watch(StatusRequest {}).await.unwrap().into_inner();
    loop {
        let status = statuses.message().await.unwrap().expect("the daemon ended");
        if good(&status) {
            return status;
        }
    }
}

fn question(seed: u64) -> AskRequest {
    AskRequest { text: QUESTION.into(), seed: Some(seed), max_tokens: Some(40), ..AskRequest::default() }
}

/// So hot that no end comes before the limit.
fn long_story() -> AskRequest {
    let text = "Tell me a long story.".into();
    AskRequest { text, temperature: Some(5.0), max_tokens: Some(240), ..question(9) }
}

#[derive(Debug)]
struct Answer {
    conversation: i64,
    tokens: Vec<AskToken>,
    notices: Vec<String>,
    done: AskDone,
}

impl Answer {
    fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }
}

async fn ask(rpc: &mut Rpc, request: AskRequest) -> Result<Answer, Fault> {
    ask_with(rpc, request, async |_| {}).await
}

async fn ask_with(
    rpc: &mut Rpc,
    request: AskRequest,
    mut at: impl AsyncFnMut(usize),
) -> Result<Answer, Fault> {
    let mut events = rpc.ask(request).await?.into_inner();
    let (mut conversation, mut tokens, mut notices) = (0, Vec::new(), Vec::new());
    loop {
        match events.message().await?.expect("an answer without an end").event.unwrap() {
            ask_event::Event::Started(started) => conversation = started.conversation,
            ask_event::Event::Notice(notice) => notices.push(notice.code),
            ask_event::Event::Token(token) => {
                assert_eq!(token.index as usize, tokens.len());
                tokens.push(token);
                at(tokens.len()).await;
            }
            ask_event::Event::Done(done) => {
                let text: String = tokens.iter().map(|token: &AskToken| token.text.as_str()).collect();
                assert_eq!(done.text, text);
                assert_eq!(done.tokens as usize, tokens.len());
                return Ok(Answer { conversation, tokens, notices, done });
            }
        }
    }
}

/// Puts an adapter with random weights into a vault that is closed.
fn plant(paths: &Paths, model: &str, shape: Shape, variant: Variant) {
    let key = KeyStore::at(&paths.data_dir).unlock(None).unwrap();
    let vault = Vault::open(&paths.vault_file(), &key).unwrap();
    let new = NewAdapter {
        parent: 0,
        variant: variant.to_string(),
        model: model.into(),
        bytes: Adapter::birth(shape, variant, 1).unwrap().to_bytes().unwrap(),
        lesson_tokens: 0,
        watermark: 0,
        numbers: "{}".into(),
        note: String::new(),
    };
    let decision =
        Decision { promote: true, verdict: "promoted".into(), by: "you".into(), numbers: "{}".into() };
    vault.add_adapter(&new, &decision, 0).unwrap();
}

fn shape_of(paths: &Paths) -> (String, Shape) {
    let kit = std::fs::read_dir(paths.kits_dir()).unwrap().next().unwrap().unwrap().path();
    let sha256 = Path::new(&kit).file_stem().unwrap().to_str().unwrap().to_owned();
    let kit = aside_daemon::kit::Kit::open(std::fs::read(&kit).unwrap().into(), &sha256).unwrap();
    (kit.model().to_owned(), kit.shape())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_gives_the_same_answer_and_everything_is_kept() {
    let room = Room::new().await;
    let mut rpc = room.rpc().await;
    let first = ask(&mut rpc, question(1)).await.unwrap();
    assert!(
        first.tokens.len() > 1 && first.tokens.iter().all(|t| t.source() == Source::Base && t.p.is_none())
    );
    let again = ask(&mut rpc, question(1)).await.unwrap();
    assert_eq!(first.ids(), again.ids());
    assert_ne!(first.ids(), ask(&mut rpc, question(2)).await.unwrap().ids());

    let request = AskRequest { conversation: first.conversation, text: "And then?".into(), ..question(1) };
    ask(&mut rpc, request).await.unwrap();
    let kept =
        rpc.get_conversation(GetConversationRequest { id: first.conversation }).await.unwrap().into_inner();
    let roles: Vec<&str> = kept.messages.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
    assert_eq!(kept.messages[1].text, first.done.text);
    assert_eq!(kept.messages[1].spans.last().unwrap().end as usize, first.done.text.len());
    assert!(!kept.messages[1].interrupted);

    let private = AskRequest { private: true, ..question(1) };
    assert_eq!(ask(&mut rpc, private).await.unwrap().ids(), first.ids());
    let stats = rpc.stats(StatsRequest {}).await.unwrap().into_inner();
    assert_eq!((stats.conversations, stats.answers, stats.transmissions), (3, 4, 0));

    let up = until(&mut rpc, |status| status.link() == LinkState::Up).await;
    assert!(up.model.is_some_and(|model| model.hidden > 0));
    let checks = rpc.doctor(aside_daemon_api::proto::DoctorRequest {}).await.unwrap().into_inner().checks;
    assert!(checks.iter().all(|check| check.state != "failed"), "{checks:?}");
    room.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_on_when_the_cloud_dies() {
    let mut room = Room::new().await;
    let mut rpc = room.rpc().await;
    let whole = ask(&mut rpc, long_story()).await.unwrap();
    assert!(whole.tokens.len() > 100, "{:?}", whole.done);
    let cut = ask_with(&mut rpc, long_story(), async |count| {
        if count == 4 {
            room.kill_cloud().await;
            room.start_cloud().await;
        }
    });
    let cut = cut.await.unwrap();
    assert_eq!(cut.ids(), whole.ids());
    assert_eq!(cut.done.text, whole.done.text);
    assert!(cut.notices.iter().filter(|n| *n == "cloud-away").count() <= 1, "{:?}", cut.notices);
    room.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newborn_adapter_says_base_word_for_word_and_rollback_ends_it() {
    let room = Room::new().await;
    let base = ask(&mut room.rpc().await, question(3)).await.unwrap();
    let mut room = room.stop().await;
    let (model, shape) = shape_of(&room.paths);
    plant(&room.paths, &model, shape, Variant::Spa);
    let mut settings = Settings::default();
    settings.cloud.uri = room.start_cloud().await;
    settings.privacy.gate = GatePlace::Cloud;
    room.start_daemon(settings);
    let mut rpc = room.rpc().await;
    // Every position is shipped, the device multiplies z + 0 by its own head: the same bits, the same tokens.
    let open = AskRequest { variant: "full-integration".into(), ..question(3) };
    let open = ask(&mut rpc, open).await.unwrap();
    assert_eq!(open.ids(), base.ids());
    assert_eq!(open.done.transmissions, open.done.tokens);
    assert!(open.tokens.iter().all(|token| token.source() == Source::Side && !token.changed));
    let refused = ask(&mut rpc, AskRequest { variant: "lst".into(), ..question(3) }).await.unwrap_err();
    assert_eq!(
        (refused.code.as_str(), refused.repair.as_str()),
        ("variant", "aside learn --now --variant lst")
    );
    let back = rpc.rollback(RollbackRequest { version: None }).await.unwrap().into_inner();
    assert!(back.version == 0 && back.in_use);
    let after = ask(&mut rpc, question(3)).await.unwrap();
    assert_eq!(after.ids(), base.ids());
    assert_eq!(after.done.transmissions, 0);
    room.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_answer_is_kept_as_far_as_it_came() {
    let room = Room::new().await;
    let mut rpc = room.rpc().await;
    let mut events = rpc.ask(long_story()).await.unwrap().into_inner();
    let mut conversation = 0;
    let mut tokens = 0;
    while tokens < 3 {
        match events.message().await.unwrap().unwrap().event.unwrap() {
            ask_event::Event::Started(started) => conversation = started.conversation,
            ask_event::Event::Token(_) => tokens += 1,
            ask_event::Event::Notice(_) => {}
            ask_event::Event::Done(done) => panic!("{done:?}"),
        }
    }
    drop(events);
    // The next question waits for no one: the conversation is free once the answer is kept.
    let next = loop {
        let request = AskRequest { conversation, text: "hello".into(), max_tokens: Some(2), ..question(1) };
        match ask(&mut rpc, request).await {
            Ok(answer) => break answer,
            Err(fault) => assert_eq!(fault.code, "busy"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let kept =
        rpc.get_conversation(GetConversationRequest { id: next.conversation }).await.unwrap().into_inner();
    assert!(kept.messages[1].interrupted && !kept.messages[1].text.is_empty());
    assert_eq!(kept.messages[1].done.as_ref().unwrap().reason, "cancelled");
    room.stop().await;
}
