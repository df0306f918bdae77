//! The real binary in a real terminal: first run, a chat, a restart, leaving.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use aside_tests::{Home, pty::Terminal};

const BINARY: &str = env!("CARGO_BIN_EXE_aside");

#[test]
fn a_chat_from_first_run_to_the_second_day() {
    let home = Home::ready(BINARY);
    let mut terminal = Terminal::start(&home, &[], 80, 24);
    terminal.shows("Aside");
    terminal.send("Hi! What do you like to do?\r");
    terminal.shows("What do you like to do?");
    let screen =
        terminal.until("a legend of the finished answer", |s| s.contains("base") && s.contains("side"));
    assert!(screen.lines().all(|l| l.chars().count() <= 80));
    terminal.send("a draft that stays");
    terminal.shows("a draft that stays");
    terminal.resize(60, 18);
    terminal.shows("a draft that stays");
    terminal.send("\x03\x03");
    assert_eq!(terminal.ended(), 0);

    let mut second = Terminal::start(&home, &[], 100, 30);
    second.shows("a draft that stays");
    second.send("\x03\x03");
    assert_eq!(second.ended(), 0);
}
