//! The calls against a scripted daemon on a socket: what the daemon says arrives as the right events, and the driver's
//! own loop turns keys into calls.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use aside_daemon_api::fault::Fault;
use aside_daemon_api::proto::aside_server::{Aside, AsideServer};
use aside_daemon_api::proto::{self, *};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status};

use super::status;
use crate::screen::driver::Client;
use crate::screen::event::{Effect, Event};
use crate::screen::rpc;

type Stream<T> = Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send>>;
type Reply<T> = Result<Response<T>, Status>;

/// A daemon whose answers are written down beforehand.
#[derive(Clone, Default)]
struct Script {
    drafts: Arc<Mutex<Vec<(i64, String)>>>,
}

fn stream<T: Send + 'static>(items: Vec<Result<T, Status>>) -> Reply<Stream<T>> {
    Ok(Response::new(Box::pin(futures::stream::iter(items))))
}

fn token(text: &str) -> AskEvent {
    AskEvent {
        event: Some(ask_event::Event::Token(AskToken { text: text.to_owned(), ..Default::default() })),
    }
}

fn conversation(id: i64, draft: &str) -> Conversation {
    Conversation { head: Some(super::head(id, "kept", 2)), draft: draft.to_owned(), ..Default::default() }
}

#[tonic::async_trait]
impl Aside for Script {
    type WatchStream = Stream<StatusReply>;
    type AskStream = Stream<AskEvent>;
    type LearnStream = Stream<LearnEvent>;
    type EvaluateStream = Stream<EvaluateEvent>;
    type ForgetStream = Stream<LearnEvent>;
    type ConnectStream = Stream<ConnectEvent>;

    async fn watch(&self, _: Request<StatusRequest>) -> Reply<Self::WatchStream> {
        stream(vec![
            Ok(status(VaultState::Locked, LinkState::Up)),
            Ok(status(VaultState::Open, LinkState::Up)),
        ])
    }

    async fn ask(&self, request: Request<AskRequest>) -> Reply<Self::AskStream> {
        let done = AskEvent { event: Some(ask_event::Event::Done(AskDone::default())) };
        match request.into_inner().text.as_str() {
            "whole" => stream(vec![Ok(token("a")), Ok(token("b")), Ok(done)]),
            "broken" => stream(vec![
                Ok(token("a")),
                Err(Fault::new("cloud-away", "gone").repair("aside doctor").into()),
            ]),
            "unended" => stream(vec![Ok(token("a"))]),
            _ => Err(Fault::new("busy", "not now").into()),
        }
    }

    async fn save_draft(&self, request: Request<SaveDraftRequest>) -> Reply<SaveDraftReply> {
        let SaveDraftRequest { conversation, text } = request.into_inner();
        self.drafts.lock().unwrap().push((conversation, text));
        Ok(Response::new(SaveDraftReply {}))
    }

    async fn list_conversations(
        &self,
        _: Request<ListConversationsRequest>,
    ) -> Reply<ListConversationsReply> {
        Ok(Response::new(ListConversationsReply { conversations: vec![super::head(5, "kept", 2)] }))
    }

    async fn get_conversation(&self, request: Request<GetConversationRequest>) -> Reply<Conversation> {
        match request.into_inner().id {
            0 => Err(Fault::new("not-found", "nothing there").into()),
            id => Ok(Response::new(conversation(id, "half a thought"))),
        }
    }

    async fn unlock(&self, _: Request<UnlockRequest>) -> Reply<UnlockReply> {
        Err(Fault::new("wrong-key", "no").into())
    }

    async fn init(&self, request: Request<InitRequest>) -> Reply<InitReply> {
        Ok(Response::new(InitReply { note: request.into_inner().key }))
    }

    async fn doctor(&self, _: Request<DoctorRequest>) -> Reply<DoctorReply> {
        let check = Check { name: "keyring".to_owned(), state: "ok".to_owned(), ..Default::default() };
        Ok(Response::new(DoctorReply { checks: vec![check] }))
    }

    async fn learn(&self, _: Request<LearnRequest>) -> Reply<Self::LearnStream> {
        let done = LearnDone { why: "nothing new".to_owned(), ..Default::default() };
        stream(vec![Ok(LearnEvent { event: Some(learn_event::Event::Done(done)) })])
    }

    async fn status(&self, _: Request<StatusRequest>) -> Reply<StatusReply> {
        Ok(Response::new(status(VaultState::Open, LinkState::Up)))
    }

    async fn stop(&self, _: Request<StopRequest>) -> Reply<StopReply> {
        Err(Status::unimplemented("stop"))
    }

    async fn list_adapters(&self, _: Request<ListAdaptersRequest>) -> Reply<ListAdaptersReply> {
        Err(Status::unimplemented("adapters"))
    }

    async fn show_adapter(&self, _: Request<ShowAdapterRequest>) -> Reply<Adapter> {
        Err(Status::unimplemented("adapters"))
    }

    async fn rate(&self, _: Request<RateRequest>) -> Reply<RateReply> {
        Err(Fault::new("not-found", "no answer").into())
    }

    async fn switch(&self, request: Request<SwitchRequest>) -> Reply<ConversationHead> {
        let SwitchRequest { conversation, learn, .. } = request.into_inner();
        Ok(Response::new(ConversationHead {
            id: conversation,
            learn: learn.unwrap_or(true),
            ..Default::default()
        }))
    }

    async fn use_adapter(&self, _: Request<UseAdapterRequest>) -> Reply<UseAdapterReply> {
        Err(Status::unimplemented("adapters"))
    }

    async fn list_sources(&self, _: Request<ListSourcesRequest>) -> Reply<ListSourcesReply> {
        Err(Status::unimplemented("sources"))
    }

    async fn forget(&self, _: Request<ForgetRequest>) -> Reply<Self::ForgetStream> {
        Err(Status::unimplemented("sources"))
    }

    async fn export_adapter(&self, _: Request<ExportAdapterRequest>) -> Reply<SealedAdapter> {
        Err(Status::unimplemented("adapters"))
    }

    async fn import_adapter(&self, _: Request<SealedAdapter>) -> Reply<Adapter> {
        Err(Status::unimplemented("adapters"))
    }

    async fn pause_learning(&self, _: Request<PauseLearningRequest>) -> Reply<PauseLearningReply> {
        Err(Status::unimplemented("learning"))
    }

    async fn adapter_log(&self, _: Request<AdapterLogRequest>) -> Reply<AdapterLogReply> {
        Err(Status::unimplemented("adapters"))
    }

    async fn rollback(&self, _: Request<RollbackRequest>) -> Reply<Adapter> {
        Err(Status::unimplemented("adapters"))
    }

    async fn evaluate(&self, _: Request<EvaluateRequest>) -> Reply<Self::EvaluateStream> {
        Err(Status::unimplemented("evaluate"))
    }

    async fn stats(&self, _: Request<StatsRequest>) -> Reply<StatsReply> {
        Err(Status::unimplemented("stats"))
    }

    async fn connect(&self, _: Request<ConnectRequest>) -> Reply<Self::ConnectStream> {
        Err(Status::unimplemented("connect"))
    }
}

/// A running script and a client of it.
async fn daemon() -> (Script, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let script = Script::default();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_service(AsideServer::new(script.clone()));
    tokio::spawn(server.serve_with_incoming(incoming));
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    (script, Client::new(channel))
}

/// All events until the sender is gone, in short words.
async fn heard(mut events: mpsc::UnboundedReceiver<Event>) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(event) = events.recv().await {
        words.push(match event {
            Event::Answer(n, proto::ask_event::Event::Token(token)) => format!("{n} {}", token.text),
            Event::Answer(n, proto::ask_event::Event::Done(_)) => format!("{n} done"),
            Event::AnswerFailed(n, problem) => format!("{n} failed {} {}", problem.code, problem.repair),
            Event::Restored(conversation) => format!("restored {}", conversation.draft),
            Event::Opened(conversation) => format!("opened {}", conversation.head.unwrap().id),
            Event::Conversations(heads) => format!("{} conversations", heads.len()),
            Event::NotUnlocked(problem) => format!("not unlocked {}", problem.code),
            Event::Made(note) => format!("made {note}"),
            Event::Keyring(there) => format!("keyring {there}"),
            Event::Learn(proto::learn_event::Event::Done(done)) => done.why,
            other => format!("{other:?}"),
        });
    }
    words
}

#[rstest::rstest]
#[case("whole", &["4 a", "4 b", "4 done"])]
#[case("broken", &["4 a", "4 failed cloud-away aside doctor"])]
#[case("unended", &["4 a", "4 failed internal aside doctor"])]
#[case("anything", &["4 failed busy "])]
#[tokio::test]
async fn an_answer_always_ends(#[case] text: &str, #[case] want: &[&str]) {
    let (_, client) = daemon().await;
    let (sender, events) = mpsc::unbounded_channel();
    let request = AskRequest { text: text.to_owned(), ..Default::default() };
    rpc::ask(client, 4, request, sender).await;
    assert_eq!(heard(events).await, want);
}

#[rstest::rstest]
#[case(Effect::Restore, &["restored half a thought"])]
#[case(Effect::Open(9), &["opened 9"])]
#[case(Effect::List, &["1 conversations"])]
#[case(Effect::Unlock("x".to_owned()), &["not unlocked wrong-key"])]
#[case(Effect::Init { key: "file", passphrase: String::new() }, &["made file"])]
#[case(Effect::ProbeKeyring, &["keyring true"])]
#[case(Effect::Learn, &["nothing new"])]
#[tokio::test]
async fn calls_become_events(#[case] effect: Effect, #[case] want: &[&str]) {
    let (_, client) = daemon().await;
    let (sender, events) = mpsc::unbounded_channel();
    rpc::simple(client, effect, sender).await;
    assert_eq!(heard(events).await, want);
}

#[tokio::test]
async fn drafts_keep_their_order() {
    let (script, client) = daemon().await;
    let (sender, _events) = mpsc::unbounded_channel();
    let (drafts, queue) = mpsc::unbounded_channel();
    for text in ["a", "ab", ""] {
        drafts.send((client.clone(), 3, text.to_owned())).unwrap();
    }
    drop(drafts);
    rpc::keep_drafts(queue, sender).await;
    let drafts = script.drafts.lock().unwrap().clone();
    assert_eq!(drafts, [(3, "a".to_owned()), (3, "ab".to_owned()), (3, String::new())]);
}

#[tokio::test]
async fn a_lost_daemon_is_sought_again() {
    let (_, client) = daemon().await;
    let (share, shared) = watch::channel(None);
    let (sender, mut events) = mpsc::unbounded_channel();
    let connect = move || {
        let client = client.clone();
        async move { Ok(client) }
    };
    let task = tokio::spawn(rpc::stay_connected(connect, share, sender));
    let mut seen = Vec::new();
    while seen.len() < 5 {
        seen.push(match events.recv().await.unwrap() {
            Event::Connected => "connected",
            Event::Status(_) => "status",
            Event::Lost(_) => "lost",
            _ => "other",
        });
    }
    assert_eq!(seen, ["connected", "status", "status", "lost", "connected"]);
    assert!(shared.borrow().is_some());
    task.abort();
}
