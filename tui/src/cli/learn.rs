//! `aside learn`: takes files in as lessons and trains a new version on all that is new.

use std::path::{Path, PathBuf};

use aside_config::{Paths, VARIANTS};
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{
    ForgetRequest, Forgotten, LearnDone, LearnEvent, LearnFile, LearnImported, LearnRequest, LearningState,
    ListSourcesRequest, PauseLearningRequest, StatusReply, StatusRequest, forget_request, learn_event,
};
use clap::Args;
use clap::builder::PossibleValuesParser;
use tonic::{Response, Status, Streaming};

use super::events::Event;
use super::exit::{Exit, Failure};
use super::progress::Meter;
use super::report::{AdapterReport, evaluation_line};
use super::{output, unlock};

/// Learns from files, or now from what was chatted
///
/// Files are chat JSON Lines (objects with `messages`), exports of ChatGPT or Claude (conversations.json), a mailbox (mbox:
/// what its owner wrote), Markdown or plain text. The new version is used at once, unless it predicts turns that were held out worse than the one in use;
/// `aside adapter rollback` goes back. Ctrl+C stops; `aside learn --now` goes on where it was.
#[derive(Debug, Args)]
pub(crate) struct Learn {
    /// Files to learn from
    #[arg(value_name = "FILE", required_unless_present_any = ["now", "status", "pause", "resume"])]
    files: Vec<PathBuf>,
    /// Train now on lessons that wait
    #[arg(long)]
    now: bool,
    /// Show whether it learns by itself, and why not
    #[arg(long, conflicts_with_all = ["files", "now", "pause", "resume"])]
    status: bool,
    /// No longer learn by itself, also after a restart
    #[arg(long, conflicts_with_all = ["files", "now", "resume"])]
    pause: bool,
    /// Learn by itself again
    #[arg(long, conflicts_with_all = ["files", "now"])]
    resume: bool,
    /// What to train
    #[arg(long, value_parser = PossibleValuesParser::new(VARIANTS))]
    variant: Option<String>,
    /// Seed of initialisation, order and dropout
    #[arg(long)]
    seed: Option<u64>,
    /// One event a line
    #[arg(long)]
    pub(crate) json: bool,
}

impl Learn {
    /// Learns.
    pub(crate) async fn run(self, paths: &Paths) -> Result<Exit, Failure> {
        if self.status || self.pause || self.resume {
            return by_itself(paths, (self.pause || self.resume).then_some(self.pause), self.json).await;
        }
        let files = self.files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
        let request = LearnRequest { files, variant: self.variant.unwrap_or_default(), seed: self.seed };
        let mut rpc = unlock::open(paths).await?;
        until_stopped(self.json, async move || rpc.learn(request).await).await
    }
}

/// Forgets a source and learns anew.
pub(crate) async fn forget(paths: &Paths, source: &str, json: bool) -> Result<Exit, Failure> {
    let mut rpc = unlock::open(paths).await?;
    let sources = rpc.list_sources(ListSourcesRequest {}).await?.into_inner().sources;
    let file = sources.iter().any(|s| s.conversation == 0 && s.name == source);
    let what = match source.parse() {
        Ok(conversation) if !file => forget_request::What::Conversation(conversation),
        _ => forget_request::What::File(source.to_owned()),
    };
    until_stopped(json, async move || rpc.forget(ForgetRequest { what: Some(what) }).await).await
}

/// Follows a stream of learning to its end, or to Ctrl+C.
async fn until_stopped(
    json: bool,
    begin: impl AsyncFnOnce() -> Result<Response<Streaming<LearnEvent>>, Status>,
) -> Result<Exit, Failure> {
    let mut meter = Meter::new(json);
    tokio::select! {
        ended = follow(begin, json, &mut meter) => ended,
        // Dropping the stream stops the training; its last checkpoint is kept.
        _ = tokio::signal::ctrl_c() => {
            meter.tell("Stopped. Go on with: aside learn --now");
            Err(Failure::Interrupted)
        }
    }
}

/// Sets the switch, if asked for, and shows how it stands.
async fn by_itself(paths: &Paths, paused: Option<bool>, json: bool) -> Result<Exit, Failure> {
    let mut rpc = unlock::open(paths).await?;
    if let Some(paused) = paused {
        rpc.pause_learning(PauseLearningRequest { paused }).await?;
    }
    let status = rpc.status(StatusRequest {}).await?.into_inner();
    if json {
        output::json(&Event::ByItself {
            learning: status.learning() != LearningState::Idle,
            paused: status.learning_paused,
            why: &status.learning_why,
            pending_tokens: status.pending_tokens,
        })?;
        return Ok(Exit::Success);
    }
    output::line(&standing(&status))?;
    Ok(Exit::Success)
}

/// Whether it learns by itself, in a sentence.
pub(crate) fn standing(status: &StatusReply) -> String {
    let wait = format!("{} new tokens wait", status.pending_tokens);
    if status.learning() != LearningState::Idle {
        return format!("learning ({:.0} %); {wait}", 100.0 * status.learning_progress);
    }
    match status.learning_why.as_str() {
        _ if status.learning_paused => format!("not learning: paused by you (aside learn --resume); {wait}"),
        "" => format!("idle: nothing new to learn; {wait}"),
        why => format!("not learning by itself: {why}; {wait}"),
    }
}

async fn follow(
    begin: impl AsyncFnOnce() -> Result<Response<Streaming<LearnEvent>>, Status>,
    json: bool,
    meter: &mut Meter,
) -> Result<Exit, Failure> {
    let mut events = begin().await?.into_inner();
    while let Some(event) = events.message().await? {
        match event.event {
            Some(learn_event::Event::Imported(file)) if json => output::json(&Event::imported(&file))?,
            Some(learn_event::Event::Imported(file)) => meter.tell(&imported(&file)),
            Some(learn_event::Event::Forgotten(gone)) if json => output::json(&Event::Forgotten {
                lessons: gone.lessons,
                rows: gone.rows,
                versions: &gone.versions,
            })?,
            Some(learn_event::Event::Forgotten(gone)) => meter.tell(&forgotten(&gone)),
            Some(learn_event::Event::Progress(progress)) => meter.show(&progress)?,
            Some(learn_event::Event::Done(done)) => {
                *meter = Meter::Silent;
                finish(&done, json)?;
                return Ok(Exit::Success);
            }
            None => {}
        }
    }
    let fault = Fault::new(codes::INTERNAL, "the daemon ended before learning did");
    Err(fault.repair("aside learn --now").into())
}

fn finish(done: &LearnDone, json: bool) -> std::io::Result<()> {
    if json {
        let adapter = done.adapter.as_ref().map(|adapter| Box::new(AdapterReport::from(adapter)));
        return output::json(&Event::Learned {
            trained: done.trained,
            promoted: done.promoted,
            why: &done.why,
            refused: done.refused,
            adapter,
        });
    }
    if done.refused > 0 {
        output::line(&format!(
            "{} conversations do not fit the model's chat template; nothing is learned from them.",
            done.refused
        ))?;
    }
    let Some(adapter) = done.adapter.as_ref().filter(|_| done.trained) else {
        return output::line(&format!("No new version: {}", done.why));
    };
    let place = if done.promoted { "is in use" } else { "is stored, not used" };
    output::line(&format!(
        "Version {} ({}) {place}: {} lesson tokens, {:.1} s.",
        adapter.version, adapter.variant, adapter.lesson_tokens, adapter.train_seconds
    ))?;
    if !done.promoted {
        output::line(&format!(
            "Why: {}. The numbers: aside adapter log. To use it all the same: aside adapter rollback {}",
            done.why, adapter.version
        ))?;
    }
    adapter.held_out.as_ref().map_or(Ok(()), |n| output::line(&format!("Held out: {}.", evaluation_line(n))))
}

/// What forgetting does and what it does not, as exactly as it is known.
fn forgotten(gone: &Forgotten) -> String {
    let Forgotten { lessons, rows, versions } = gone;
    let mut text = format!("{lessons} turns are forgotten; {rows} rows left the memory.");
    if !versions.is_empty() {
        text.push_str(&format!(
            " Trained with them, and deleted (one in use as soon as another is trained without them): {}. Not undone: \
             exported files, backups of the vault, and what the cloud computed at the time.",
            count(versions.len(), "version")
        ));
    }
    text
}

fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

fn imported(file: &LearnImported) -> String {
    if file.already_known {
        return format!("{}: learned before", file.name);
    }
    let mut text =
        format!("{}: {}, {} conversations, {} turns", file.name, file.format, file.conversations, file.turns);
    if file.skipped > 0 {
        text.push_str(&format!("; {} left out, the first because {}", file.skipped, file.skipped_why));
    }
    text
}

/// A file as it travels: its name without folders, and its bytes.
pub(crate) fn read(path: &Path) -> Result<LearnFile, Failure> {
    let content = std::fs::read(path)
        .map_err(|cause| Fault::new(codes::NOT_FOUND, format!("cannot read {}: {cause}", path.display())))?;
    // A little room for the rest of the message.
    if content.len() > aside_daemon_api::MAX_MESSAGE - (1 << 16) {
        let limit = aside_daemon_api::MAX_MESSAGE >> 20;
        let message = format!("{} is larger than {limit} MiB; split it", path.display());
        return Err(Fault::new(codes::BAD_REQUEST, message).into());
    }
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(LearnFile { name, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_was_left_out_and_why() {
        let mut file = LearnImported { name: "a.jsonl".into(), format: "chat".into(), ..Default::default() };
        (file.conversations, file.turns) = (2, 9);
        assert_eq!(imported(&file), "a.jsonl: chat, 2 conversations, 9 turns");
        (file.skipped, file.skipped_why) = (1, "line 3 is no JSON".into());
        assert!(imported(&file).ends_with("; 1 left out, the first because line 3 is no JSON"));
        file.already_known = true;
        assert_eq!(imported(&file), "a.jsonl: learned before");
    }

    #[test]
    fn files_travel_by_name_and_a_missing_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.md");
        std::fs::write(&path, "# hi").unwrap();
        let file = read(&path).unwrap();
        assert_eq!((file.name.as_str(), file.content.as_slice()), ("notes.md", b"# hi".as_slice()));
        let missing = read(&dir.path().join("none.md")).unwrap_err();
        assert!(
            matches!(missing, Failure::Fault(f) if f.code == "not-found" && f.message.contains("none.md"))
        );
    }
}
