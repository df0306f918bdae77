//! One question: stored first, then answered, then kept as far as it came.

use std::sync::Arc;
use std::time::Duration;

use aside_adapter::Variant;
use aside_cloud_api::proto::{CloseSession, request};
use aside_cloud_api::sampling::Sampler;
use aside_config::GatePlace;
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{AskDone, AskEvent, AskNotice, AskRequest, AskStarted, Seconds, ask_event};

use super::adapters;
use super::chat::{self, Stored};
use super::hub::{Hub, InUse};
use crate::cloud::{Connected, Key, random};
use crate::faults::{blocking, kit_fault};
use crate::kit::Message;
use crate::now;
use crate::turn::{Account, Chooser, Ended, Keeper, Mode, Outcome, Plan, Sink, Turn, drive, plan};
use crate::vault::{AnswerStats, TokenMark, Vault};

/// How long an answer waits for a cloud that is away.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the request and the settings say together.
struct Wanted {
    variant: Variant,
    temperature: f32,
    top_k: u32,
    top_p: f32,
    max_tokens: u32,
    seed: Option<u64>,
}

/// Answers into `sink`; a failure is its last item.
pub(super) async fn ask(hub: Arc<Hub>, request: AskRequest, sink: Sink) {
    if let Err(fault) = answer(&hub, request, &sink).await {
        let _ = sink.send(Err(fault.into())).await;
    }
}

async fn answer(hub: &Arc<Hub>, request: AskRequest, sink: &Sink) -> Result<(), Fault> {
    let wanted = wanted(hub, &request)?;
    let vault = hub.open_vault()?;
    let in_use = allowed(hub, &vault, &request).await?;
    // Before anything is stored: a variant that cannot be served is a mistake of the request.
    planned(hub, &wanted, &in_use)?;
    let (stored, _running) = if request.private {
        (chat::private(&request, wanted.seed.unwrap_or_else(random)), hub.begin(None)?)
    } else {
        let conversation = chat::resolve(&vault, request.conversation).await?;
        let mut running = hub.begin(conversation)?;
        let stored = chat::store(&vault, conversation, &request, wanted.seed).await?;
        stored.ids.map_or(Ok(()), |ids| running.inside(ids.conversation))?;
        (stored, running)
    };
    let version = in_use.adapter.as_ref().map_or(0, |adapter| adapter.row.version);
    send(sink, started(&stored, &wanted, version)).await;
    for damaged in &in_use.damaged {
        let message = format!(
            "Adapter version {damaged} cannot be read; version {version} answers instead. Anew: aside learn --now"
        );
        send(sink, notice("adapter-damaged", message)).await;
    }
    let job = Job { hub, vault: &vault, wanted, in_use, stored };
    let outcome = job.run(sink).await;
    let kept = job.keep(&outcome, version).await;
    let ended = outcome.ended.clone()?;
    kept?;
    send(sink, ask_event::Event::Done(done(&outcome.text, ended.as_str(), &outcome.account))).await;
    Ok(())
}

/// The adapter, unless the person keeps it out: everywhere, or of this conversation.
async fn allowed(hub: &Arc<Hub>, vault: &Vault, request: &AskRequest) -> Result<InUse, Fault> {
    let conversation =
        if request.private { None } else { chat::resolve(vault, request.conversation).await? };
    let vault = vault.clone();
    let out = blocking(move || {
        let of_this = |id| vault.conversation(id).map(|row| !row.switches.use_adapter);
        Ok(adapters::off(&vault)? || conversation.map_or(Ok(false), of_this)?)
    });
    if out.await? { Ok(InUse::default()) } else { hub.adapter().await }
}

struct Job<'a> {
    hub: &'a Arc<Hub>,
    vault: &'a Vault,
    wanted: Wanted,
    in_use: InUse,
    stored: Stored,
}

impl Job<'_> {
    /// A failure before the first token is an outcome too: the question stays.
    async fn run(&self, sink: &Sink) -> Outcome {
        match self.prepared(sink).await {
            Ok(outcome) => outcome,
            Err(ended) => {
                let (text, marks, account) = Default::default();
                Outcome { text, marks, account, shipped: None, ended }
            }
        }
    }

    async fn prepared(&self, sink: &Sink) -> Result<Outcome, Result<Ended, Fault>> {
        let connected = tokio::select! {
            connected = connect(self.hub, sink) => connected.map_err(Err)?,
            () = self.hub.stop.cancelled() => return Err(Ok(Ended::Cancelled)),
            () = sink.closed() => return Err(Ok(Ended::Cancelled)),
        };
        let _place = tokio::select! {
            place = self.hub.at_once.acquire() => place.map_err(|_| Err(Fault::internal("the daemon stops")))?,
            () = self.hub.stop.cancelled() => return Err(Ok(Ended::Cancelled)),
            () = sink.closed() => return Err(Ok(Ended::Cancelled)),
        };
        let of_model = self.in_use.adapter.as_ref().filter(|known| known.row.model == connected.model.id);
        let usable = InUse { adapter: of_model.cloned(), damaged: Vec::new() };
        let plan = planned(self.hub, &self.wanted, &usable).map_err(Err)?;
        let messages = self.messages();
        let max_tokens = usize::try_from(self.wanted.max_tokens).unwrap_or(usize::MAX);
        let prompt = connected.kit.prompt(&messages, max_tokens).map_err(|error| Err(kit_fault(&error)))?;
        if prompt.cut > 0 {
            let message = format!(
                "The conversation is longer than the model's memory: the oldest {} messages are left out.",
                prompt.cut
            );
            send(sink, notice("context-cut", message)).await;
        }
        Ok(self.drive(sink, &connected, &plan, prompt.ids, &usable).await)
    }

    /// The system message of the settings, then what was said.
    fn messages(&self) -> Vec<Message> {
        let system = self.hub.settings().chat.system.as_ref().filter(|text| !text.is_empty());
        let system = system.map(|text| Message::new("system", text.clone()));
        system.into_iter().chain(self.stored.messages.iter().cloned()).collect()
    }

    async fn drive(
        &self,
        sink: &Sink,
        connected: &Connected,
        plan: &Plan,
        prompt: Vec<u32>,
        usable: &InUse,
    ) -> Outcome {
        let Wanted { temperature, top_k, top_p, max_tokens, .. } = self.wanted;
        let Stored { seed, turn, attempt, .. } = self.stored;
        let sampler = Sampler { temperature, top_k, top_p, seed, turn, attempt };
        let source = self.source().await;
        let chooser = plan.adapter.as_ref().map(|adapter| {
            Arc::new(Chooser {
                kit: Arc::clone(&connected.kit),
                adapter: Arc::clone(adapter),
                gate: plan.gate.clone().filter(|_| plan.gate_at_home),
                sampler,
                source,
            })
        });
        let key = self.key(plan, usable);
        let turn = Turn {
            plan,
            kit: &connected.kit,
            link: &connected.link,
            sessions: (&connected.sessions, key),
            chooser,
            request: name(),
            prompt,
            sampler,
            max_tokens,
            patience: PATIENCE,
            stop: self.hub.stop.clone(),
        };
        let keeper = self.stored.ids.map(|ids| Keeper::new(self.vault.clone(), ids.answer));
        let outcome = drive(&turn, sink, keeper).await;
        if self.stored.ids.is_none() {
            // Nothing of a private answer stays in the cloud either.
            for session in connected.sessions.take(key) {
                let _ = connected.link.call(request::Body::CloseSession(CloseSession { session })).await;
            }
        }
        outcome
    }

    /// The lesson source that this conversation became, if it did.
    async fn source(&self) -> Option<u64> {
        let (vault, conversation) = (self.vault.clone(), self.stored.ids?.conversation);
        let found = blocking(move || vault.source_of(conversation)).await;
        found.ok().flatten().map(i64::cast_unsigned)
    }

    fn key(&self, plan: &Plan, usable: &InUse) -> Key {
        // Negative: never the number of a row.
        let private = || (random() | 1 << 63).cast_signed();
        Key {
            conversation: self.stored.ids.map_or_else(private, |ids| ids.conversation),
            version: usable.adapter.as_ref().map_or(0, |adapter| adapter.row.version),
            mode: plan.mode,
            threshold: match (plan.mode, &plan.gate) {
                (Mode::Gated, Some(gate)) => gate.threshold.to_bits(),
                _ => 0,
            },
        }
    }

    async fn keep(&self, outcome: &Outcome, version: u64) -> Result<(), Fault> {
        let Some(ids) = self.stored.ids else { return Ok(()) };
        let reason = outcome.ended.as_ref().map_or("failed", |ended| ended.as_str());
        let interrupted = !matches!(outcome.ended, Ok(Ended::Stop | Ended::Length | Ended::Context));
        let (vault, text, marks) = (self.vault.clone(), outcome.text.clone(), outcome.marks.clone());
        let stats = outcome.account.stats(version, reason);
        let model = self.hub.cloud.view().borrow().model.as_ref().map(|model| model.id.clone());
        let shipped = model.zip(outcome.shipped.clone());
        blocking(move || {
            vault.finish_answer(ids.answer, &text, &marks, &stats, interrupted, now())?;
            let ids_of = |marks: &[TokenMark]| marks.iter().map(|mark| mark.id).collect::<Vec<u32>>();
            // A lesson's states need not be fetched where chat shipped them all.
            shipped.map_or(Ok(()), |(model, states)| {
                vault.put_shipped(ids.answer, &model, &ids_of(&marks), &states)
            })
        })
        .await
    }
}

/// Waits for the cloud, and says so when that takes a while.
async fn connect(hub: &Hub, sink: &Sink) -> Result<Connected, Fault> {
    let connected = hub.cloud.connected(PATIENCE);
    tokio::pin!(connected);
    tokio::select! {
        connected = &mut connected => return connected,
        () = tokio::time::sleep(Duration::from_secs(2)) => {}
    }
    send(sink, notice("cloud-away", "The cloud is not there yet; waiting for it.".into())).await;
    let connected = connected.await?;
    send(sink, notice("cloud-back", "The cloud is there.".into())).await;
    Ok(connected)
}

fn planned(hub: &Hub, wanted: &Wanted, in_use: &InUse) -> Result<Plan, Fault> {
    let adapter = in_use.adapter.as_ref().map(|known| &known.adapter);
    let at_home = hub.settings().privacy.gate == GatePlace::Device;
    Ok(plan(wanted.variant, adapter, at_home, hub.settings().learning.budget)?)
}

fn wanted(hub: &Hub, request: &AskRequest) -> Result<Wanted, Fault> {
    let bad = |why: &str| Err(Fault::new(codes::BAD_REQUEST, why));
    let chat = &hub.settings().chat;
    let variant = if request.variant.is_empty() { &chat.variant } else { &request.variant };
    let wanted = Wanted {
        variant: variant.parse().map_err(|why: String| Fault::new(codes::BAD_REQUEST, why))?,
        temperature: request.temperature.unwrap_or(chat.temperature),
        top_k: request.top_k.unwrap_or(chat.top_k),
        top_p: request.top_p.unwrap_or(chat.top_p),
        max_tokens: request.max_tokens.unwrap_or(chat.max_tokens),
        seed: request.seed.or(chat.seed),
    };
    match () {
        () if !(0.0..=5.0).contains(&wanted.temperature) => bad("the temperature must be between 0 and 5"),
        () if !(wanted.top_p > 0.0 && wanted.top_p <= 1.0) => bad("top-p must be above 0 and at most 1"),
        () if wanted.max_tokens == 0 => bad("an answer has at least 1 token"),
        () if request.text.trim().is_empty() && !request.regenerate => bad("there is nothing to answer"),
        () => Ok(wanted),
    }
}

fn started(stored: &Stored, wanted: &Wanted, adapter_version: u64) -> ask_event::Event {
    ask_event::Event::Started(AskStarted {
        conversation: stored.ids.map_or(0, |ids| ids.conversation),
        question: stored.ids.map_or(0, |ids| ids.question),
        answer: stored.ids.map_or(0, |ids| ids.answer),
        seed: stored.seed,
        adapter_version,
        variant: wanted.variant.to_string(),
    })
}

fn notice(code: &str, message: String) -> ask_event::Event {
    ask_event::Event::Notice(AskNotice { code: code.to_owned(), message })
}

async fn send(sink: &Sink, event: ask_event::Event) {
    // A front end that hung up is noticed by the driver.
    let _ = sink.send(Ok(AskEvent { event: Some(event) })).await;
}

/// 16 random bytes.
fn name() -> [u8; 16] {
    let mut name = [0; 16];
    let (left, right) = name.split_at_mut(8);
    left.copy_from_slice(&random().to_le_bytes());
    right.copy_from_slice(&random().to_le_bytes());
    name
}

fn done(text: &str, reason: &str, account: &Account) -> AskDone {
    finished(text, &account.stats(0, reason))
}

/// The last event of an answer, also as history tells it again.
pub(super) fn finished(text: &str, stats: &AnswerStats) -> AskDone {
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    AskDone {
        text: text.to_owned(),
        reason: stats.reason.clone(),
        tokens: count(stats.tokens),
        side: count(stats.side),
        changed: count(stats.changed),
        transmissions: count(stats.transmissions),
        seconds: Some(seconds(stats.cloud_us, stats.device_us, stats.net_us)),
        bytes_up: stats.bytes_up,
        bytes_down: stats.bytes_down,
    }
}

/// Microseconds as seconds.
pub(super) fn seconds(cloud_us: u64, device_us: u64, net_us: u64) -> Seconds {
    let seconds = |us: u64| us as f64 / 1e6;
    Seconds { cloud: seconds(cloud_us), device: seconds(device_us), net: seconds(net_us) }
}
