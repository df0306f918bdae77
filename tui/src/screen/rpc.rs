//! The calls to the daemon. Each tells the screen what came of it; none decides anything.

use std::future::Future;
use std::time::Duration;

use aside_daemon_api::fault::Fault;
use aside_daemon_api::proto;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tonic::Status;

use super::driver::Client;
use super::event::{Effect, Event, Problem};

/// Conversations shown in the list.
const LISTED: u32 = 500;
/// Wait before the daemon is sought again: first, and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

type Events = UnboundedSender<Event>;

/// A send fails only when the screen has ended; then nobody wants to know.
fn tell(events: &Events, event: Event) {
    let _ = events.send(event);
}

fn problem(status: Status) -> Problem {
    let fault = Fault::from(status);
    Problem { code: fault.code, message: fault.message, repair: fault.repair }
}

/// Connects, watches, and begins again when the daemon is lost.
pub(super) async fn stay_connected<C, F>(connect: C, share: watch::Sender<Option<Client>>, events: Events)
where
    C: Fn() -> F + Send + Sync,
    F: Future<Output = color_eyre::Result<Client>> + Send,
{
    let mut wait = PATIENCE.0;
    loop {
        match connect().await {
            Ok(mut client) => {
                share.send_replace(Some(client.clone()));
                tell(&events, Event::Connected);
                let why = watch_status(&mut client, &events).await;
                share.send_replace(None);
                tell(&events, Event::Lost(why));
                wait = PATIENCE.0;
            }
            Err(error) => tell(&events, Event::Lost(not_started(&error))),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(PATIENCE.1);
    }
}

/// Why there is no daemon; a fault brings its own repair.
fn not_started(error: &color_eyre::Report) -> Problem {
    let (message, repair) = match error.downcast_ref::<Fault>() {
        Some(fault) => (fault.message.clone(), fault.repair.clone()),
        None => (format!("{error:#}"), "aside doctor".to_owned()),
    };
    Problem { code: "daemon".to_owned(), message: format!("The daemon does not start: {message}"), repair }
}

/// Tells every status until the stream ends, and why it did.
async fn watch_status(client: &mut Client, events: &Events) -> Problem {
    let mut stream = match client.watch(proto::StatusRequest {}).await {
        Ok(reply) => reply.into_inner(),
        Err(status) => return problem(status),
    };
    loop {
        match stream.message().await {
            Ok(Some(status)) => tell(events, Event::Status(status)),
            Ok(None) => {
                let message = "The daemon has stopped; it is being started again.".to_owned();
                return Problem { code: "daemon".to_owned(), message, repair: String::new() };
            }
            Err(status) => return problem(status),
        }
    }
}

/// One answer, until its end.
pub(super) async fn ask(mut client: Client, number: u64, request: proto::AskRequest, events: Events) {
    let failed = |problem| tell(&events, Event::AnswerFailed(number, problem));
    let mut stream = match client.ask(request).await {
        Ok(reply) => reply.into_inner(),
        Err(status) => return failed(problem(status)),
    };
    loop {
        match stream.message().await {
            Ok(Some(proto::AskEvent { event: Some(event) })) => {
                let done = matches!(event, proto::ask_event::Event::Done(_));
                tell(&events, Event::Answer(number, event));
                if done {
                    return;
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => {
                let message = "The answer ended without its last word.".to_owned();
                return failed(Problem {
                    code: "internal".to_owned(),
                    message,
                    repair: "aside doctor".to_owned(),
                });
            }
            Err(status) => return failed(problem(status)),
        }
    }
}

/// A draft on its way to the vault: over which connection, of which conversation, which text.
pub(super) type Draft = (Client, i64, String);

/// Keeps drafts one after the other, so that the last one stays.
pub(super) async fn keep_drafts(mut drafts: UnboundedReceiver<Draft>, events: Events) {
    while let Some((mut client, conversation, text)) = drafts.recv().await {
        if let Err(status) = client.save_draft(proto::SaveDraftRequest { conversation, text }).await {
            tell(&events, Event::Failed(problem(status)));
        }
    }
}

/// The calls with one reply, and learning.
pub(super) async fn simple(client: Client, effect: Effect, events: Events) {
    let event = match effect {
        Effect::Restore => {
            restore(client).await.map(|found| found.map(Event::Restored)).map_err(Event::Failed)
        }
        Effect::List => {
            list(client).await.map(|heads| Some(Event::Conversations(heads))).map_err(Event::Failed)
        }
        Effect::Open(id) => {
            get(client, id).await.map(|found| Some(Event::Opened(found))).map_err(Event::Failed)
        }
        Effect::Rate(request) => rate(client, request).await.map(|()| None).map_err(Event::Failed),
        Effect::Switch(request) => {
            switch(client, request).await.map(|head| Some(Event::Switched(head))).map_err(Event::Failed)
        }
        Effect::Init { key, passphrase } => init(client, key, passphrase).await.map_err(Event::NotMade),
        Effect::Unlock(passphrase) => unlock(client, passphrase).await.map_err(Event::NotUnlocked),
        Effect::ProbeKeyring => Ok(Some(Event::Keyring(has_keyring(client).await))),
        Effect::Learn => learn(client, &events).await.map(|()| None).map_err(Event::LearnFailed),
        Effect::Ask(..) | Effect::Cancel(_) | Effect::SaveDraft { .. } | Effect::Quit => Ok(None),
    };
    if let Some(event) = event.unwrap_or_else(Some) {
        tell(&events, event);
    }
}

async fn get(mut client: Client, id: i64) -> Result<proto::Conversation, Problem> {
    let reply = client.get_conversation(proto::GetConversationRequest { id }).await;
    reply.map(tonic::Response::into_inner).map_err(problem)
}

async fn list(mut client: Client) -> Result<Vec<proto::ConversationHead>, Problem> {
    let reply = client.list_conversations(proto::ListConversationsRequest { limit: LISTED }).await;
    reply.map(|reply| reply.into_inner().conversations).map_err(problem)
}

/// The draft of the conversation not started yet; else the newest conversation, if a draft waits there.
async fn restore(mut client: Client) -> Result<Option<proto::Conversation>, Problem> {
    let draft = |found: &proto::Conversation| !found.draft.is_empty();
    if let Some(found) = get(client.clone(), 0).await.ok().filter(draft) {
        return Ok(Some(found));
    }
    let newest =
        client.list_conversations(proto::ListConversationsRequest { limit: 1 }).await.map_err(problem)?;
    let Some(head) = newest.into_inner().conversations.into_iter().next() else { return Ok(None) };
    Ok(Some(get(client, head.id).await?).filter(draft))
}

async fn rate(mut client: Client, request: proto::RateRequest) -> Result<(), Problem> {
    client.rate(request).await.map(|_| ()).map_err(problem)
}

async fn switch(
    mut client: Client,
    request: proto::SwitchRequest,
) -> Result<proto::ConversationHead, Problem> {
    client.switch(request).await.map(tonic::Response::into_inner).map_err(problem)
}

async fn init(mut client: Client, key: &str, passphrase: String) -> Result<Option<Event>, Problem> {
    let reply = client.init(proto::InitRequest { key: key.to_owned(), passphrase }).await.map_err(problem)?;
    Ok(Some(Event::Made(reply.into_inner().note)))
}

async fn unlock(mut client: Client, passphrase: String) -> Result<Option<Event>, Problem> {
    client.unlock(proto::UnlockRequest { passphrase }).await.map_err(problem)?;
    Ok(Some(Event::Unlocked))
}

/// The daemon's own check of the keyring.
async fn has_keyring(mut client: Client) -> bool {
    let reply =
        client.doctor(proto::DoctorRequest {}).await.map(tonic::Response::into_inner).unwrap_or_default();
    reply.checks.iter().any(|check| check.name.contains("keyring") && check.state == "ok")
}

async fn learn(mut client: Client, events: &Events) -> Result<(), Problem> {
    let mut stream = client.learn(proto::LearnRequest::default()).await.map_err(problem)?.into_inner();
    while let Some(message) = stream.message().await.map_err(problem)? {
        message.event.into_iter().for_each(|event| tell(events, Event::Learn(event)));
    }
    Ok(())
}
