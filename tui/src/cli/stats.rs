//! `aside stats`: what was said, learned and shipped so far.

use aside_config::Paths;
use aside_daemon_api::proto::{StatsReply, StatsRequest};
use clap::Args;
use serde::Serialize;

use super::events::Seconds;
use super::exit::{Exit, Failure};
use super::{output, unlock};

/// Shows what was said, learned and shipped so far
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// One object
    #[arg(long)]
    pub(crate) json: bool,
}

/// The object that `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    conversations: u64,
    answers: u64,
    tokens: u64,
    open: u64,
    side: u64,
    changed: u64,
    transmissions: u64,
    seconds: Seconds,
    bytes_up: u64,
    bytes_down: u64,
    lessons: u64,
    lesson_tokens: u64,
    pending_tokens: u64,
    cached_states_bytes: u64,
    evicted_lessons: u64,
    adapter_versions: u64,
    adapter_version: u64,
    vault_bytes: u64,
}

impl Stats {
    /// Shows them.
    pub(crate) async fn run(self, paths: &Paths) -> Result<Exit, Failure> {
        let stats = unlock::open(paths).await?.stats(StatsRequest {}).await?.into_inner();
        if self.json {
            output::json(&report(&stats))?;
        } else {
            output::line(&page(&stats))?;
        }
        Ok(Exit::Success)
    }
}

fn report(s: &StatsReply) -> Report {
    Report {
        conversations: s.conversations,
        answers: s.answers,
        tokens: s.tokens,
        open: s.open,
        side: s.side,
        changed: s.changed,
        transmissions: s.transmissions,
        seconds: s.seconds.into(),
        bytes_up: s.bytes_up,
        bytes_down: s.bytes_down,
        lessons: s.lessons,
        lesson_tokens: s.lesson_tokens,
        pending_tokens: s.pending_tokens,
        cached_states_bytes: s.cached_states_bytes,
        evicted_lessons: s.evicted_lessons,
        adapter_versions: s.adapter_versions,
        adapter_version: s.adapter_version,
        vault_bytes: s.vault_bytes,
    }
}

fn page(s: &StatsReply) -> String {
    let seconds = s.seconds.unwrap_or_default();
    [
        format!("conversations   {}", s.conversations),
        format!("answers         {} with {} tokens", s.answers, s.tokens),
        format!("open            {}{}", s.open, share(s.open, s.tokens)),
        format!("side            {}{}", s.side, share(s.side, s.tokens)),
        format!("changed         {}{}", s.changed, share(s.changed, s.tokens)),
        format!("transmissions   {}", s.transmissions),
        format!(
            "seconds         cloud {:.1}, device {:.1}, net {:.1}",
            seconds.cloud, seconds.device, seconds.net
        ),
        format!("traffic         {} up, {} down", bytes(s.bytes_up), bytes(s.bytes_down)),
        format!(
            "lessons         {} with {} tokens, {} not trained yet",
            s.lessons, s.lesson_tokens, s.pending_tokens
        ),
        format!("cached states   {}{}", bytes(s.cached_states_bytes), evicted(s.evicted_lessons)),
        format!("adapter         version {} of {}", s.adapter_version, s.adapter_versions),
        format!("vault           {}", bytes(s.vault_bytes)),
    ]
    .join("\n")
}

/// What gave way and why; nothing while everything has room.
fn evicted(lessons: u64) -> String {
    match lessons {
        0 => String::new(),
        _ => format!("; those of {lessons} lessons gave way to newer ones (learning.cache_mib)"),
    }
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { String::new() } else { format!(" ({:.1} %)", part as f64 * 100.0 / whole as f64) }
}

/// Bytes for people, in powers of 1024.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "bytes" { format!("{count} bytes") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 40), "5.0 TiB");
        assert_eq!((share(1, 8).as_str(), share(0, 0).as_str()), (" (12.5 %)", ""));
        let stats = StatsReply { tokens: 4, open: 1, ..Default::default() };
        assert!(page(&stats).contains("open            1 (25.0 %)") && !page(&stats).contains("gave way"));
        let full = StatsReply { evicted_lessons: 7, ..stats };
        assert!(page(&full).contains("cached states   0 bytes; those of 7 lessons gave way"));
        let json = serde_json::to_value(report(&stats)).unwrap();
        assert_eq!((json["open"].as_u64(), json["seconds"]["net"].as_f64()), (Some(1), Some(0.0)));
    }
}
