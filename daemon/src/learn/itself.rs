//! Learning without being asked: no front end listens, and a candidate has to be better beyond doubt.

use std::sync::Arc;

use aside_adapter::Bar;
use aside_daemon_api::fault::Fault;
use aside_daemon_api::proto::{LearnEvent, LearnRequest};
use tokio::sync::{mpsc, watch};

use super::begin::begin;
use super::sink::Sink;
use super::{Context, Progress, fetch, guard, intake, run};

/// See [`super::Learner::keep_up`].
pub(super) async fn keep_up(context: &Context, status: &watch::Sender<Progress>) -> Result<bool, Fault> {
    intake::chats(&context.vault).await?;
    let connected = context.cloud.connected(fetch::PATIENCE).await?;
    let model = connected.model.id;
    unheard(status, async |sink| fetch::missing(context, &model, sink).await.map(|_| ())).await?;
    let back = guard::watch(context, Arc::clone(&connected.kit)).await?;
    Ok(begin(context, connected.kit).await? || back)
}

/// See [`super::Learner::learn_by_itself`].
pub(super) async fn learn(context: &Context, status: &watch::Sender<Progress>) -> Result<bool, Fault> {
    let request = LearnRequest::default();
    let done = unheard(status, async |sink| run::learn_or_begin(context, request, Bar::Sure, sink).await);
    let (done, begun) = done.await?;
    Ok(done.trained || begun)
}

/// Runs `work` with a sink whose events nobody reads; only the status shows them.
async fn unheard<T>(
    status: &watch::Sender<Progress>,
    work: impl AsyncFnOnce(&Sink<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let (events, mut unread) = mpsc::channel::<Result<LearnEvent, tonic::Status>>(1);
    let sink = Sink::new(&events, status);
    tokio::select! {
        done = work(&sink) => done,
        () = async { while unread.recv().await.is_some() {} } => Err(Fault::internal("learning lost its sink")),
    }
}
