//! `aside cloud prepare`: learns on public conversations what the devices of a backbone begin with.

use std::fs::File;
use std::io::{Read, Write};
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

use super::exit::{Exit, Failure};
use super::output;
use super::progress::Meter;

/// The backbone in the binary.
const BUNDLED: &str = "bundled";
const GZIP: [u8; 2] = [0x1f, 0x8b];

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
        let done = tokio::task::spawn_blocking(move || self.prepare()).await;
        done.map_err(|_| Fault::internal("preparing ended unexpectedly"))?
    }

    fn prepare(&self) -> Result<Exit, Failure> {
        let folder = Some(self.model.as_path()).filter(|model| *model != Path::new(BUNDLED));
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
        let public = self.read()?;
        if public.people.is_empty() {
            let what = "nobody in these files has two conversations of which one is measured";
            let repair = "aside cloud prepare --help";
            return Err(Fault::new(codes::BAD_REQUEST, what).repair(repair).into());
        }
        let loaded = unprepared(folder).map_err(|error| bad(&error))?;
        let kit = Kit::open(loaded.kit.bytes.clone(), &loaded.kit.sha256).map_err(|error| bad(&error))?;
        let mut meter = Meter::new(self.json);
        if public.alone > 0 {
            let why = "they name no \"user\", or are the only one of theirs";
            meter.tell(&format!("{} conversations are left out: {why}", public.alone));
        }
        let prepared = learn(&kit, loaded.backbone, &public, &mut meter).map_err(|error| bad(&error))?;
        drop(meter);
        write(&out, &prepared.starter).map_err(|cause| {
            Fault::new(codes::BAD_REQUEST, format!("cannot write {}: {cause}", out.display()))
        })?;
        self.show(&kit, &prepared, &out)?;
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
                format!("the gate opens {:.0} % of the tokens of people it was not fitted on", rate * 100.0)
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

fn text(file: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    File::open(file)?.read_to_end(&mut bytes)?;
    if bytes.starts_with(&GZIP) {
        let mut text = String::new();
        GzDecoder::new(bytes.as_slice()).read_to_string(&mut text)?;
        return Ok(text);
    }
    String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is no text"))
}

/// Writes the file as a whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.new"));
    let mut file = File::create(&beside)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let moved = written.and_then(|()| std::fs::rename(&beside, path));
    if moved.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    moved
}

fn bad(error: &dyn std::fmt::Display) -> Failure {
    Fault::new(codes::BAD_REQUEST, error.to_string()).repair("aside cloud prepare --help").into()
}
