//! The real binary when processes die and peers lie.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use aside_tests::{Answer, Ended, Home, alive, kill, wait};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

const BINARY: &str = env!("CARGO_BIN_EXE_aside");
const QUESTION: &str = "Tell me a long story about a boy and his dog.";
// So hot that it does not end before the limit.
const LONG: [&str; 9] =
    ["ask", "--json", "--seed", "9", "--max-tokens", "160", "--temperature", "5", QUESTION];

#[test]
fn an_answer_goes_on_after_kill_9_of_the_cloud() {
    let home = Home::ready(BINARY);
    let whole = home.ask(&LONG[2..]);
    assert!(whole.tokens.len() > 100, "the story is too short to interrupt: {:?}", whole.done);
    let mut child = home.command(&LONG).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut events: Vec<Value> = Vec::new();
    let mut cloud = home.cloud();
    for line in &mut lines {
        events.push(serde_json::from_str(&line.unwrap()).unwrap());
        if let Some(pid) = cloud.take_if(|_| events.iter().any(|e| e["type"] == "token")) {
            kill(pid);
        }
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(Answer::of(events).tokens, whole.tokens);
}

#[test]
fn kill_9_of_the_daemon_keeps_what_was_said() {
    let home = Home::ready(BINARY);
    home.ask(&["--max-tokens", "8", "hello"]);
    let (daemon, cloud) = (home.daemon(), home.cloud().unwrap());
    kill(daemon);
    wait("the cloud's end after its parent's", || (!alive(cloud)).then_some(()));
    let stats = home.json(&["stats"]);
    assert_eq!(stats[0]["conversations"], 1);
    home.ask(&["--continue", "--max-tokens", "8", "go on"]);
}

#[test]
fn a_remote_cloud_needs_an_invitation_and_its_pinned_key() {
    let server = Home::new(BINARY);
    let client = Home::ready(BINARY);
    let mut cloud = Ended(
        server
            .command(&["cloud", "serve", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    BufReader::new(cloud.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split_whitespace().find(|w| w.starts_with("aside://")).unwrap().to_owned();
    let uninvited = client.run(&["connect", &address]);
    assert!(!uninvited.status.success());

    let invitation = server.ok(&["cloud", "invite"]);
    let invitation = invitation.split_whitespace().find(|w| w.contains('#')).unwrap().to_owned();
    // The invitation may not know the port that the system gave: address and key come from the server's line.
    let secret = invitation.split_once('#').unwrap().1;
    let uri = format!("{}#{secret}", address.split('#').next().unwrap());
    let wrong = uri.replacen("127.0.0.1", "127.0.0.2", 0);
    let (place, key) = wrong.split('#').next().unwrap().rsplit_once('/').unwrap();
    let flipped: String = key.chars().rev().collect();
    let liar = client.run(&["connect", &format!("{place}/{flipped}#{secret}")]);
    assert!(!liar.status.success());

    client.ok(&["connect", &uri]);
    let remote = client.ask(&["--seed", "1", "hello"]);
    let again = client.run(&["connect", &uri]);
    assert!(again.status.success(), "a known key needs no second invitation");
    client.ok(&["connect", "local"]);
    assert_eq!(client.ask(&["--seed", "1", "hello"]).tokens, remote.tokens);

    let stranger = Home::ready(BINARY);
    let used = stranger.run(&["connect", &uri]);
    assert!(!used.status.success(), "an invitation works once");
}
