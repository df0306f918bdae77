//! The real binary: a question and its answer, seeds, restarts, errors and exit codes.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use aside_tests::{Home, alive, wait};
use std::io::Write;
use std::process::Stdio;

const BINARY: &str = env!("CARGO_BIN_EXE_aside");
const QUESTION: &str = "Hi! What do you like to do?";

#[test]
fn a_seed_gives_the_same_tokens_again_also_after_a_restart() {
    let home = Home::ready(BINARY);
    let first = home.ask(&["--seed", "1", QUESTION]);
    assert!(first.tokens.len() > 1 && first.side() == 0, "{:?}", first.done);
    assert!(first.tokens.iter().all(|t| t["p"].is_null() && t["changed"] == false));
    assert_eq!(first.done["transmissions"], 0);
    for part in ["cloud", "device", "net"] {
        assert!(first.done["seconds"][part].as_f64().unwrap() >= 0.0);
    }
    assert_eq!(home.ask(&["--seed", "1", QUESTION]).tokens, first.tokens);
    let daemon = home.daemon();
    home.ok(&["daemon", "stop"]);
    wait("the daemon's end", || (!alive(daemon)).then_some(()));
    assert_eq!(home.ask(&["--seed", "1", QUESTION]).tokens, first.tokens);
    assert_ne!(home.ask(&["--seed", "2", QUESTION]).ids(), first.ids());
}

#[test]
fn a_pipe_gets_the_answer_and_nothing_else() {
    let home = Home::ready(BINARY);
    let arguments = ["ask", "--seed", "3", "--max-tokens", "20", "-"];
    let mut child = home
        .command(&arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(QUESTION.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let events = home.ask(&["--seed", "3", "--max-tokens", "20", QUESTION]);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{}\n", events.done["text"].as_str().unwrap())
    );
}

#[test]
fn a_private_question_leaves_no_row_and_continue_goes_on() {
    let home = Home::ready(BINARY);
    let count = || home.json(&["stats"])[0]["conversations"].as_u64().unwrap();
    home.ask(&["--private", "--max-tokens", "5", QUESTION]);
    assert_eq!(count(), 0);
    home.ask(&["--max-tokens", "5", QUESTION]);
    assert_eq!(count(), 1);
    home.ask(&["--continue", "--max-tokens", "5", "And then?"]);
    assert_eq!(count(), 1);
    home.ask(&["--max-tokens", "5", QUESTION]);
    assert_eq!(count(), 2);
}

#[test]
fn exit_codes_tell_what_is_wrong() {
    let home = Home::new(BINARY);
    let no_vault = home.run(&["ask", "hello"]);
    assert_eq!(no_vault.status.code(), Some(3));
    let told = String::from_utf8_lossy(&no_vault.stderr).into_owned();
    assert!(told.contains("aside init --key") && told.contains("ASIDE_PASSPHRASE_FILE"), "{told}");
    let bare = home.run(&[]);
    assert_eq!(bare.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bare.stderr).contains("ask"));
    assert_eq!(home.run(&["ask", "--no-such-flag"]).status.code(), Some(2));
    home.ok(&["init", "--key", "file"]);
    let variant = home.run(&["ask", "--json", "--variant", "lst", "hello"]);
    assert_eq!(variant.status.code(), Some(1));
    let event: serde_json::Value = serde_json::from_slice(&variant.stdout).unwrap();
    assert_eq!((event["type"].as_str(), event["code"].as_str()), (Some("error"), Some("variant")));
    assert!(event["repair"].as_str().unwrap().contains("--variant lst"), "{event}");
}

#[test]
fn a_passphrase_locks_the_vault_until_it_is_given() {
    let home = Home::new(BINARY);
    let right = home.file("right", "correct horse battery\n");
    let wrong = home.file("wrong", "something else\n");
    let run = |file: Option<&str>, arguments: &[&str]| {
        let mut command = home.command(arguments);
        if let Some(file) = file {
            command.env("ASIDE_PASSPHRASE_FILE", file);
        }
        command.output().unwrap().status.code()
    };
    assert_eq!(run(Some(&right), &["init", "--key", "passphrase"]), Some(0));
    assert_eq!(run(Some(&right), &["ask", "--max-tokens", "3", "hello"]), Some(0));
    home.ok(&["daemon", "stop"]);
    assert_eq!(run(None, &["ask", "hello"]), Some(3));
    assert_eq!(run(Some(&wrong), &["ask", "hello"]), Some(3));
    assert_eq!(run(Some(&right), &["ask", "--max-tokens", "3", "hello"]), Some(0));
}

#[test]
fn only_one_daemon_runs_and_many_front_ends_share_it() {
    let home = Home::ready(BINARY);
    home.ok(&["daemon", "stop"]);
    let asks: Vec<_> = (0..4)
        .map(|_| {
            home.command(&["ask", "--seed", "5", "--max-tokens", "12", QUESTION])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let answers: Vec<Vec<u8>> = asks.into_iter().map(|c| c.wait_with_output().unwrap().stdout).collect();
    assert!(!answers[0].is_empty() && answers.iter().all(|a| *a == answers[0]));
}

#[test]
fn an_answer_is_rated_and_the_adapter_turned_off() {
    let home = Home::ready(BINARY);
    let nothing = home.run(&["rate", "good"]);
    assert_eq!(nothing.status.code(), Some(1));
    home.ask(&["--max-tokens", "8", "hello"]);
    home.ok(&["rate", "good"]);
    home.ok(&["rate", "edited", "Hello to you, too."]);
    let unfinished = home.run(&["rate", "edited"]);
    assert_eq!(unfinished.status.code(), Some(2));
    home.ok(&["learn", "--now"]);
    // The question and the rewritten answer.
    assert_eq!(home.json(&["stats"])[0]["lessons"], 2);
    home.ok(&["rate", "bad"]);
    home.ok(&["adapter", "off"]);
    assert_eq!(home.json(&["daemon", "status"])[0]["adapter_off"], true);
    let answer = home.ask(&["--max-tokens", "8", "hello"]);
    assert_eq!(answer.side(), 0);
    assert!(answer.tokens.iter().all(|t| t["p"].is_null()), "no gate ran");
    home.ok(&["adapter", "on"]);
    home.ok(&["learn", "--now", "--seed", "2"]);
    assert_eq!(home.json(&["daemon", "status"])[0]["adapter_off"], false);
}
