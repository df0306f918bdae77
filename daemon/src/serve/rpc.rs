//! The calls of `daemon.proto`: each hands over to the part that does it.

use std::sync::Arc;

use aside_daemon_api::fault::Fault;
use aside_daemon_api::proto::aside_server::Aside;
use aside_daemon_api::proto::{
    Adapter, AdapterLogReply, AdapterLogRequest, AskEvent, AskRequest, ConnectEvent, ConnectRequest,
    Conversation, ConversationHead, DoctorReply, DoctorRequest, EvaluateEvent, EvaluateRequest,
    ExportAdapterRequest, ForgetRequest, GetConversationRequest, InitReply, InitRequest, LearnEvent,
    LearnRequest, ListAdaptersReply, ListAdaptersRequest, ListConversationsReply, ListConversationsRequest,
    ListSourcesReply, ListSourcesRequest, PauseLearningReply, PauseLearningRequest, RateReply, RateRequest,
    RollbackRequest, SaveDraftReply, SaveDraftRequest, SealedAdapter, ShowAdapterRequest, StatsReply,
    StatsRequest, StatusReply, StatusRequest, StopReply, StopRequest, SwitchRequest, UnlockReply,
    UnlockRequest, UseAdapterReply, UseAdapterRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::hub::Hub;
use super::idle;
use super::{adapters, ask, chat, connect, doctor, numbers, portable, status, unlock};
use crate::faults::blocking;
use crate::learn::{Context, Events, Learner};

/// Events on their way to a slow front end.
const QUEUE: usize = 256;

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = ReceiverStream<Result<T, Status>>;

/// The service over the shared state.
pub(super) struct Service(pub(super) Arc<Hub>);

impl Service {
    /// A stream that `work` fills; it runs to its end whether or not somebody listens.
    fn stream<T, F>(&self, work: impl FnOnce(Arc<Hub>, Events<T>) -> F) -> Answer<Stream<T>>
    where
        T: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (sink, stream) = mpsc::channel(QUEUE);
        self.0.spawn(work(Arc::clone(&self.0), sink));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    /// A stream that the learner fills.
    fn learner<T, F>(&self, work: impl FnOnce(Arc<Learner>, Context, Events<T>) -> F) -> Answer<Stream<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        let learner = Arc::clone(&self.0.learner);
        let context = self.0.context()?;
        self.stream(|hub, sink| {
            let work = work(learner, context, sink.clone());
            async move {
                if let Err(fault) = work.await {
                    let _ = sink.send(Err(fault.into())).await;
                }
                hub.changed();
            }
        })
    }
}

#[tonic::async_trait]
impl Aside for Service {
    type WatchStream = Stream<StatusReply>;
    type AskStream = Stream<AskEvent>;
    type LearnStream = Stream<LearnEvent>;
    type EvaluateStream = Stream<EvaluateEvent>;
    type ForgetStream = Stream<LearnEvent>;
    type ConnectStream = Stream<ConnectEvent>;

    async fn status(&self, _: Request<StatusRequest>) -> Answer<StatusReply> {
        Ok(Response::new(status::now(&self.0).await))
    }

    async fn watch(&self, _: Request<StatusRequest>) -> Answer<Self::WatchStream> {
        self.stream(status::watch)
    }

    async fn stop(&self, _: Request<StopRequest>) -> Answer<StopReply> {
        self.0.stop.cancel();
        Ok(Response::new(StopReply {}))
    }

    async fn init(&self, request: Request<InitRequest>) -> Answer<InitReply> {
        Ok(Response::new(unlock::init(&self.0, request.into_inner()).await?))
    }

    async fn unlock(&self, request: Request<UnlockRequest>) -> Answer<UnlockReply> {
        unlock::unlock(&self.0, request.into_inner()).await?;
        Ok(Response::new(UnlockReply {}))
    }

    async fn ask(&self, request: Request<AskRequest>) -> Answer<Self::AskStream> {
        let request = request.into_inner();
        self.stream(|hub, sink| ask::ask(hub, request, sink))
    }

    async fn list_conversations(
        &self,
        request: Request<ListConversationsRequest>,
    ) -> Answer<ListConversationsReply> {
        let conversations = chat::list(self.0.open_vault()?, request.into_inner().limit).await?;
        Ok(Response::new(ListConversationsReply { conversations }))
    }

    async fn get_conversation(&self, request: Request<GetConversationRequest>) -> Answer<Conversation> {
        Ok(Response::new(chat::get(self.0.open_vault()?, request.into_inner().id).await?))
    }

    async fn save_draft(&self, request: Request<SaveDraftRequest>) -> Answer<SaveDraftReply> {
        let SaveDraftRequest { conversation, text } = request.into_inner();
        let vault = self.0.open_vault()?;
        blocking(move || vault.save_draft(conversation, &text)).await?;
        Ok(Response::new(SaveDraftReply {}))
    }

    async fn rate(&self, request: Request<RateRequest>) -> Answer<RateReply> {
        let answer = chat::rate(&self.0.open_vault()?, request.into_inner()).await?;
        self.0.changed();
        Ok(Response::new(RateReply { answer }))
    }

    async fn switch(&self, request: Request<SwitchRequest>) -> Answer<ConversationHead> {
        let head = chat::switch(&self.0.open_vault()?, request.into_inner()).await?;
        self.0.changed();
        Ok(Response::new(head))
    }

    async fn use_adapter(&self, request: Request<UseAdapterRequest>) -> Answer<UseAdapterReply> {
        adapters::switch(&self.0, request.into_inner().on).await?;
        Ok(Response::new(UseAdapterReply {}))
    }

    async fn learn(&self, request: Request<LearnRequest>) -> Answer<Self::LearnStream> {
        let request = request.into_inner();
        self.0.give_way().await;
        self.learner(|learner, context, events| learner.learn(context, request, events))
    }

    async fn list_adapters(&self, _: Request<ListAdaptersRequest>) -> Answer<ListAdaptersReply> {
        Ok(Response::new(adapters::list(&self.0).await?))
    }

    async fn show_adapter(&self, request: Request<ShowAdapterRequest>) -> Answer<Adapter> {
        Ok(Response::new(adapters::show(&self.0, request.into_inner().version).await?))
    }

    async fn pause_learning(&self, request: Request<PauseLearningRequest>) -> Answer<PauseLearningReply> {
        idle::pause(&self.0, request.into_inner().paused).await?;
        Ok(Response::new(PauseLearningReply {}))
    }

    async fn adapter_log(&self, _: Request<AdapterLogRequest>) -> Answer<AdapterLogReply> {
        Ok(Response::new(adapters::log(&self.0).await?))
    }

    async fn rollback(&self, request: Request<RollbackRequest>) -> Answer<Adapter> {
        Ok(Response::new(adapters::rollback(&self.0, request.into_inner().version).await?))
    }

    async fn evaluate(&self, request: Request<EvaluateRequest>) -> Answer<Self::EvaluateStream> {
        let request = request.into_inner();
        self.learner(|learner, context, events| learner.evaluate(context, request, events))
    }

    async fn list_sources(&self, _: Request<ListSourcesRequest>) -> Answer<ListSourcesReply> {
        Ok(Response::new(adapters::sources(&self.0).await?))
    }

    async fn forget(&self, request: Request<ForgetRequest>) -> Answer<Self::ForgetStream> {
        let request = request.into_inner();
        self.0.give_way().await;
        self.learner(|learner, context, events| learner.forget(context, request, events))
    }

    async fn export_adapter(&self, request: Request<ExportAdapterRequest>) -> Answer<SealedAdapter> {
        Ok(Response::new(portable::export(&self.0, request.into_inner()).await?))
    }

    async fn import_adapter(&self, request: Request<SealedAdapter>) -> Answer<Adapter> {
        Ok(Response::new(portable::import(&self.0, request.into_inner()).await?))
    }

    async fn stats(&self, _: Request<StatsRequest>) -> Answer<StatsReply> {
        Ok(Response::new(numbers::stats(&self.0).await?))
    }

    async fn connect(&self, request: Request<ConnectRequest>) -> Answer<Self::ConnectStream> {
        let uri = request.into_inner().uri;
        self.stream(|hub, sink| connect::connect(hub, uri, sink))
    }

    async fn doctor(&self, _: Request<DoctorRequest>) -> Answer<DoctorReply> {
        Ok(Response::new(DoctorReply { checks: doctor::checks(&self.0).await }))
    }
}
