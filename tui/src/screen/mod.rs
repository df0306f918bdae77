//! The screen: a chat in the terminal. `App` is a pure state machine, `draw` a pure function of it, and the driver
//! does all that touches the world. The first frame is drawn before daemon and cloud are up.

mod app;
mod commands;
mod composer;
mod draw;
mod driver;
mod event;
mod markdown;
mod provenance;
mod rpc;
mod terminal;
mod text;
mod theme;
mod transcript;

#[cfg(test)]
mod tests;

use std::future::Future;

use aside_daemon_api::proto::aside_client::AsideClient;
use tonic::transport::Channel;

/// What the command line and the settings say about the screen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// "auto", "dark", "light", "16" or "none"; `NO_COLOR` wins.
    pub(crate) theme: String,
    /// The variant to ask for; empty leaves it to the daemon.
    pub(crate) variant: String,
}

/// Runs the chat until the person leaves; the number is the exit code.
///
/// `connect` starts the daemon if need be and connects to it; it is called in the background, and again whenever the
/// daemon was lost.
///
/// # Errors
/// When the terminal cannot be used.
pub(crate) async fn run<C, F>(options: Options, connect: C) -> color_eyre::Result<u8>
where
    C: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = color_eyre::Result<AsideClient<Channel>>> + Send + 'static,
{
    let palette = theme::Palette::choose(&options.theme, |name| std::env::var(name).ok());
    let mut terminal = terminal::Screen::enter()?;
    let app = app::App::new(palette, options.variant, terminal.size()?);
    driver::Driver::new(app, connect).run(&mut terminal).await
}
