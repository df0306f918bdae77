//! The log of the two long-running processes: to stderr, filtered by `ASIDE_LOG`. Never holds chat text or keys.

use tracing_subscriber::EnvFilter;

/// Starts logging; `ASIDE_LOG=debug` says more, `ASIDE_LOG=off` nothing.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("ASIDE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A second subscriber is no reason to fail.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}
