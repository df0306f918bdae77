//! `aside cloud prepare`: learns on public conversations what the devices of a backbone begin with.

use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aside_cloud::engine::{Backbone, Chunk, STARTER_FILE, unprepared};
use aside_cloud_api::codec::{Layout, States};
use aside_cloud_api::sampling::Sampler;
use aside_daemon::kit::Kit;
use aside_daemon::prepare::{Engine, Prepared, Public, people, prepare};
use aside_daemon_api::fault::{Fault, codes};
use aside_daemon_api::proto::{LearnProgress, LearningState};
use clap::Args;
use flate2::read::GzDecoder;
use serde::Serialize;
use tempfile::NamedTempFile;

use super::exit::{Exit, Failure};
use super::output;
use super::progress::Meter;

/// The backbone in the binary.
const BUNDLED: &str = "bundled";
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Bytes of text at most.
const LARGEST: u64 = 1 << 30;

#[derive(Debug, Args)]
pub(crate) struct Prepare {
    /// Folder of a Hugging Face model, or "bundled"
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Conversations of many people: JSON Lines with "user" and "messages", plain or gzip
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    text: Vec<PathBuf>,
    /// Measure on the first N rows of every file and only remember the others; all are measured when left out. What the
    /// backbone was trained on should not be measured
    #[arg(long, value_name = "N")]
    unseen: Option<usize>,
    /// Where it goes; into the model's folder when left out
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Progress and result as one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// The last event.
#[derive(Serialize)]
struct Done<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    file: &'a Path,
    model: &'a str,
    people: usize,
    tokens: usize,
    nll: Nll,
    /// Null where opening never paid.
    open_rate: Option<f32>,
}

#[derive(Serialize)]
struct Nll {
    base: f64,
    open: f64,
}

impl Prepare {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let (out, file) = self.target()?;
        // Taken back where the person stops it, and where anything fails.
        let unfinished = file.path().to_owned();
        let work = tokio::task::spawn_blocking(move || self.prepare(&out, file));
        tokio::select! {
            done = work => done.map_err(|_| Fault::internal("preparing ended unexpectedly"))?,
            _ = tokio::signal::ctrl_c() => {
                let _ = std::fs::remove_file(unfinished);
                Err(Failure::Interrupted)
            }
        }
    }

    /// Where the starter goes, and the file beside it that becomes it: what cannot be written is known before the work.
    fn target(&self) -> Result<(PathBuf, NamedTempFile), Failure> {
        let folder = self.folder();
        let out = match (&self.out, folder) {
            (Some(out), _) => out.clone(),
            (None, Some(folder)) => folder.join(STARTER_FILE),
            (None, None) => {
                return Err(Failure::usage(
                    "the bundled backbone has no folder; name a file with --out",
                    "aside cloud prepare --help",
                ));
            }
        };
        let beside = out.parent().filter(|folder| !folder.as_os_str().is_empty());
        let file = tempfile::Builder::new().prefix(".aside").tempfile_in(beside.unwrap_or(Path::new(".")));
        match file {
            Ok(file) => Ok((out, file)),
            Err(cause) => Err(cannot(&out, &cause)),
        }
    }

    fn folder(&self) -> Option<&Path> {
        Some(self.model.as_path()).filter(|model| *model != Path::new(BUNDLED))
    }

    fn prepare(&self, out: &Path, mut file: NamedTempFile) -> Result<Exit, Failure> {
        let public = self.read()?;
        if public.people.is_empty() {
            let what = "nobody in these files has two conversations of which one is measured";
            let repair = "aside cloud prepare --help";
            return Err(Fault::new(codes::BAD_REQUEST, what).repair(repair).into());
        }
        let loaded = unprepared(self.folder()).map_err(|error| bad(&error))?;
        let kit = Kit::open(loaded.kit.bytes.clone(), &loaded.kit.sha256).map_err(|error| bad(&error))?;
        let mut meter = Meter::new(self.json);
        if public.alone > 0 {
            let why = "they name no \"user\", or are the only one of theirs";
            meter.tell(&format!("{} conversations are left out: {why}", public.alone));
        }
        let prepared = learn(&kit, loaded.backbone, &public, &mut meter).map_err(|error| bad(&error))?;
        if prepared.refused > 0 {
            meter.tell(&format!(
                "{} conversations are left out: the chat template refuses them",
                prepared.refused
            ));
        }
        drop(meter);
        let written = file.write_all(&prepared.starter).and_then(|()| file.as_file().sync_all());
        // Others run the model than whoever prepares it.
        let readable = written.and_then(|()| file.as_file().set_permissions(Permissions::from_mode(0o644)));
        readable.map_err(|cause| cannot(out, &cause))?;
        file.persist(out).map_err(|error| cannot(out, &error.error))?;
        self.show(&kit, &prepared, out)?;
        Ok(Exit::Success)
    }

    fn read(&self) -> Result<Public, Failure> {
        let mut all = Public::default();
        for file in &self.text {
            let wrong = |why: String| {
                let message = format!("{}: {why}", file.display());
                Fault::new(codes::BAD_REQUEST, message).repair("aside cloud prepare --help")
            };
            let text = text(file).map_err(|error| wrong(error.to_string()))?;
            let found = people(&text, self.unseen.unwrap_or(usize::MAX))
                .map_err(|(line, why)| wrong(format!("line {line} is no conversation: {why}")))?;
            all.alone += found.alone;
            // The same name in two files is not the same person.
            let named = |name: String| format!("{name} of {}", file.display());
            all.people.extend(found.people.into_iter().map(|(name, talks)| (named(name), talks)));
        }
        Ok(all)
    }

    fn show(&self, kit: &Kit, prepared: &Prepared, out: &Path) -> std::io::Result<()> {
        let Prepared { people, tokens, nll: (base, open), open_rate, .. } = prepared;
        if self.json {
            return output::json(&Done {
                kind: "done",
                file: out,
                model: kit.model(),
                people: *people,
                tokens: *tokens,
                nll: Nll { base: *base, open: *open },
                open_rate: *open_rate,
            });
        }
        output::line(&format!("{people} people, {tokens} tokens measured"))?;
        let change = 100.0 * (open / base - 1.0);
        output::line(&format!(
            "base {base:.3} nats per token, with the memory of their other conversations {open:.3} ({change:+.1} %)"
        ))?;
        output::line(&match open_rate {
            Some(rate) => {
                format!(
                    "the gate opens {:.0} % of the tokens of people, and of generic text, it was not fitted on",
                    rate * 100.0
                )
            }
            None => "opening never paid: devices begin closed".to_owned(),
        })?;
        output::line(&format!("{} holds what devices begin with", out.display()))
    }
}

fn learn(
    kit: &Kit,
    backbone: Box<dyn Backbone>,
    public: &Public,
    meter: &mut Meter,
) -> Result<Prepared, aside_daemon::prepare::PrepareError> {
    let mut local = Local { backbone, layout: kit.layout() };
    let total = public.people.len() as u64;
    prepare(kit, public, &mut local, |done| {
        let detail = format!("{done} of {total} people");
        let mut progress = LearnProgress { done: done as u64, total, detail, ..LearnProgress::default() };
        progress.set_phase(LearningState::Encoding);
        // A closed stdout ends the command where the result is written.
        drop(meter.show(&progress));
    })
}

/// The engine in this process.
struct Local {
    backbone: Box<dyn Backbone>,
    layout: Layout,
}

impl Engine for Local {
    fn states(&mut self, tokens: &[u32]) -> Result<States, String> {
        let sequence = self.backbone.begin().map_err(|error| error.to_string())?;
        let hidden = self.backbone.forward(&[Chunk { sequence, tokens }]);
        self.backbone.end(sequence);
        let hidden = hidden.map_err(|error| error.to_string())?.pop().ok_or("it gave nothing")?;
        Ok(States::encode(self.layout, &hidden.taps, &hidden.z))
    }

    fn sample(&mut self, prefix: &[u32], length: usize, seed: u64) -> Result<Vec<u32>, String> {
        let sampler = Sampler { temperature: 1.0, top_k: 0, top_p: 1.0, seed, turn: 0, attempt: 0 };
        let sequence = self.backbone.begin().map_err(|error| error.to_string())?;
        let mut ids = prefix.to_vec();
        let mut written = || -> aside_cloud::engine::Result<()> {
            let mut from = 0;
            for index in 0..length {
                let tokens = ids.get(from..).unwrap_or_default();
                from = ids.len();
                let hidden = self.backbone.forward(&[Chunk { sequence, tokens }])?;
                let z = hidden.first().map_or(&[][..], |hidden| &hidden.z);
                let last = z.get(z.len().saturating_sub(self.layout.hidden)..).unwrap_or_default();
                // Gumbel noise makes logits as good as log-probabilities.
                ids.push(sampler.choose(&self.backbone.head(last)?, index as u32));
            }
            Ok(())
        };
        let ended = written().map_err(|error| error.to_string());
        self.backbone.end(sequence);
        ended.map(|()| ids)
    }
}

/// A file's text, gzip or plain.
fn text(file: &Path) -> std::io::Result<String> {
    let mut raw = BufReader::new(File::open(file)?);
    let zipped = raw.fill_buf()?.starts_with(&GZIP);
    let mut bytes = Vec::new();
    let read = match zipped {
        true => GzDecoder::new(raw).take(LARGEST + 1).read_to_end(&mut bytes)?,
        false => raw.take(LARGEST + 1).read_to_end(&mut bytes)?,
    };
    if read as u64 > LARGEST {
        return Err(std::io::Error::other("it is larger than 1 GiB; a part of it will do"));
    }
    String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is no text"))
}

fn cannot(out: &Path, cause: &std::io::Error) -> Failure {
    let repair = "aside cloud prepare --help";
    Fault::new(codes::BAD_REQUEST, format!("cannot write {}: {cause}", out.display())).repair(repair).into()
}

fn bad(error: &dyn std::fmt::Display) -> Failure {
    Fault::new(codes::BAD_REQUEST, error.to_string()).repair("aside cloud prepare --help").into()
}
