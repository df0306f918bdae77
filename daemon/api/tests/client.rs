//! The client against a real server of the generated service on a temporary socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;

use aside_daemon_api::PROTOCOL;
use aside_daemon_api::client::{ConnectError, Probe, connect, probe};
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::aside_server::{Aside, AsideServer};
use aside_daemon_api::proto::*;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

type Events<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

struct Fake;

fn refused() -> Status {
    Fault::new(codes::LOCKED, "the vault is locked").repair("aside init --key file").into()
}

macro_rules! fake {
    ($($name:ident($request:ty) -> $reply:ty;)*) => {
        #[tonic::async_trait]
        impl Aside for Fake {
            type WatchStream = Events<StatusReply>;
            type AskStream = Events<AskEvent>;
            type LearnStream = Events<LearnEvent>;
            type EvaluateStream = Events<EvaluateEvent>;
            type ForgetStream = Events<LearnEvent>;
            type ConnectStream = Events<ConnectEvent>;

            async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
                Ok(Response::new(StatusReply { build: "b1".into(), protocol: PROTOCOL, ..Default::default() }))
            }

            async fn ask(&self, request: Request<AskRequest>) -> Result<Response<Self::AskStream>, Status> {
                let token = AskToken { text: request.into_inner().text, ..Default::default() };
                let events = [Ok(AskEvent { event: Some(ask_event::Event::Token(token)) }), Err(refused())];
                Ok(Response::new(Box::pin(tokio_stream::iter(events))))
            }

            $(async fn $name(&self, _: Request<$request>) -> Result<Response<$reply>, Status> {
                Err(refused())
            })*
        }
    };
}

fake! {
    watch(StatusRequest) -> Self::WatchStream;
    stop(StopRequest) -> StopReply;
    init(InitRequest) -> InitReply;
    unlock(UnlockRequest) -> UnlockReply;
    list_conversations(ListConversationsRequest) -> ListConversationsReply;
    get_conversation(GetConversationRequest) -> Conversation;
    rate(RateRequest) -> RateReply;
    switch(SwitchRequest) -> ConversationHead;
    use_adapter(UseAdapterRequest) -> UseAdapterReply;
    save_draft(SaveDraftRequest) -> SaveDraftReply;
    learn(LearnRequest) -> Self::LearnStream;
    list_adapters(ListAdaptersRequest) -> ListAdaptersReply;
    show_adapter(ShowAdapterRequest) -> Adapter;
    rollback(RollbackRequest) -> Adapter;
    adapter_log(AdapterLogRequest) -> AdapterLogReply;
    pause_learning(PauseLearningRequest) -> PauseLearningReply;
    evaluate(EvaluateRequest) -> Self::EvaluateStream;
    list_sources(ListSourcesRequest) -> ListSourcesReply;
    forget(ForgetRequest) -> Self::ForgetStream;
    export_adapter(ExportAdapterRequest) -> SealedAdapter;
    import_adapter(SealedAdapter) -> Adapter;
    stats(StatsRequest) -> StatsReply;
    connect(ConnectRequest) -> Self::ConnectStream;
    doctor(DoctorRequest) -> DoctorReply;
}

fn serve(socket: &Path) -> JoinHandle<()> {
    let incoming = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
    tokio::spawn(async move {
        let service = AsideServer::new(Fake).max_decoding_message_size(aside_daemon_api::MAX_MESSAGE);
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
    })
}

#[tokio::test]
async fn probe_tells_ready_from_stale() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let server = serve(&socket);
    assert!(matches!(probe(&socket, "b1").await.unwrap(), Probe::Ready(_, status) if status.build == "b1"));
    assert!(matches!(probe(&socket, "b2").await.unwrap(), Probe::Stale(..)));
    server.abort();
}

#[tokio::test]
async fn nobody_there_is_unreachable_also_behind_a_socket_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    assert!(matches!(connect(&socket).await, Err(ConnectError::Unreachable(_))));
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    assert!(matches!(probe(&socket, "b1").await.unwrap(), Probe::Unreachable));
}

/// A daemon that is killed with a connection in its queue resets it, at whatever point the client is.
#[tokio::test]
async fn a_daemon_killed_at_any_moment_is_unreachable() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    for _ in 0..200 {
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let (told, begin) = std::sync::mpsc::channel();
        let killed = std::thread::spawn(move || {
            begin.recv().unwrap();
            drop(listener);
        });
        told.send(()).unwrap();
        assert!(matches!(probe(&socket, "b1").await.unwrap(), Probe::Unreachable));
        killed.join().unwrap();
        std::fs::remove_file(&socket).unwrap();
    }
}

#[tokio::test]
async fn something_else_there_is_no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    assert!(matches!(probe(&socket, "b1").await, Err(ConnectError::NoDaemon { .. })));
}

#[tokio::test]
async fn a_stream_brings_events_and_then_the_fault() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let server = serve(&socket);
    let mut rpc = connect(&socket).await.unwrap();
    // Longer than gRPC's own limit of 4 MiB.
    let text = "x".repeat(5 << 20);
    let request = AskRequest { text: text.clone(), ..Default::default() };
    let mut events = rpc.ask(request).await.unwrap().into_inner();
    let first = events.message().await.unwrap().unwrap();
    assert!(matches!(first.event, Some(ask_event::Event::Token(token)) if token.text == text));
    let fault = Fault::from(events.message().await.unwrap_err());
    assert_eq!(fault, Fault::from(refused()));
    let fault = Fault::from(rpc.stats(StatsRequest {}).await.unwrap_err());
    assert_eq!((fault.code.as_str(), fault.repair.as_str()), ("locked", "aside init --key file"));
    server.abort();
}
