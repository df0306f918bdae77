//! Results: one JSON object a line, appended as they come, so that a run that was stopped goes on.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use aside_adapter::Evaluation;
use serde::{Deserialize, Serialize};

use crate::Fallible;

/// Nats per token on unseen conversations.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Numbers {
    pub(crate) tokens: u64,
    pub(crate) base: f64,
    pub(crate) open: f64,
    pub(crate) gated: f64,
    pub(crate) rate: f64,
}

impl From<Evaluation> for Numbers {
    fn from(e: Evaluation) -> Self {
        Self { tokens: e.tokens, base: e.nll_base, open: e.nll_open, gated: e.nll_gated, rate: e.open_rate }
    }
}

impl Numbers {
    /// Change of the gated loss against base, in percent.
    pub(crate) fn gated_percent(&self) -> f64 {
        100.0 * (self.gated / self.base - 1.0)
    }

    /// The same with every position open.
    pub(crate) fn open_percent(&self) -> f64 {
        100.0 * (self.open / self.base - 1.0)
    }

    /// Loss of a gate that draws with the same open rate.
    pub(crate) fn random(&self) -> f64 {
        (1.0 - self.rate) * self.base + self.rate * self.open
    }
}

/// One measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) kind: String,
    pub(crate) user: String,
    /// What was trained, see `arms.rs`; "lora" comes from `lora.py`.
    pub(crate) arm: String,
    pub(crate) seed: u64,
    /// Lesson tokens.
    pub(crate) lessons: u64,
    pub(crate) all: Numbers,
    pub(crate) own: Numbers,
    pub(crate) replies: Numbers,
    /// Area under the gate's receiver operating curve for "the gain is above the price".
    #[serde(default)]
    pub(crate) auroc: f64,
    #[serde(default)]
    pub(crate) seconds: f64,
    /// Of a step of the idle series: whether it was promoted.
    #[serde(default)]
    pub(crate) promoted: bool,
}

/// The file.
pub(crate) struct Results {
    path: PathBuf,
    pub(crate) rows: Vec<Row>,
}

impl Results {
    pub(crate) fn open(path: &Path) -> Fallible<Self> {
        let rows = match File::open(path) {
            Ok(file) => BufReader::new(file)
                .lines()
                .map(|line| Ok(serde_json::from_str(&line?)?))
                .collect::<Fallible<_>>()?,
            Err(_) => Vec::new(),
        };
        Ok(Self { path: path.to_owned(), rows })
    }

    pub(crate) fn has(&self, user: &str, arm: &str, seed: u64) -> bool {
        self.rows.iter().any(|r| r.user == user && r.arm == arm && r.seed == seed)
    }

    /// Where a person's adapter lies, which others are measured with: beside the results.
    pub(crate) fn adapter(&self, user: &str) -> PathBuf {
        self.path.with_extension("adapters").join(format!("{user}.safetensors"))
    }

    pub(crate) fn add(&mut self, row: Row) -> Fallible<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        // One write, for another program may append too.
        file.write_all(format!("{}\n", serde_json::to_string(&row)?).as_bytes())?;
        self.rows.push(row);
        Ok(())
    }
}
