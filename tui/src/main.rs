//! Aside: a terminal chat whose model learns its user. One binary: the chat, the commands, and with
//! `daemon` and `cloud` the two processes behind them.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        reason = "tests"
    )
)]

mod cli;
mod screen;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // It can only fail when called twice; a panic is then shown plainly.
    let _ = color_eyre::install();
    cli::main(cli::Cli::parse())
}
