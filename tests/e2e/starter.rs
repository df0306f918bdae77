//! What comes with the backbone: it serves before anything is trained, and `cloud prepare` makes it for others.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use aside_tests::{Home, wait};
use serde_json::{Value, json};
use std::path::Path;

const BINARY: &str = env!("CARGO_BIN_EXE_aside");
const QUESTION: &str = "What did you do at the harbor?";
const HABITS: [&str; 6] = [
    "I took my beagle Biscuit to the harbor in Visby again.",
    "My uncle Tomas plays the accordion on his wooden sailboat.",
    "I baked a rhubarb pie for my sister Linnea in Visby.",
    "My beagle Biscuit chased the puffins on the northern cliffs.",
    "I practiced the accordion in the lighthouse with my uncle Tomas.",
    "I sold my pottery at the market in Visby with my sister Linnea.",
];

#[test]
fn a_memory_serves_before_anything_is_trained_and_goes_for_good_when_told() {
    let mut home = Home::new(BINARY);
    home.set("ASIDE_LEARNING_SETTLE_SECONDS", "1");
    home.set("ASIDE_LEARNING_IDLE", "true");
    home.set("ASIDE_LEARNING_IDLE_MINUTES", "600");
    home.ok(&["init", "--key", "file"]);
    let before = home.ask(&["--private", "--seed", "4", QUESTION]);
    assert_eq!(before.side(), 0);
    // The same things said in many conversations, as people do.
    let say = |times: std::ops::Range<usize>| {
        for n in times {
            home.ok(&["ask", "--max-tokens", "1", HABITS[n % HABITS.len()]]);
        }
    };
    let decisions = || home.json(&["adapter", "log"])[0].as_array().unwrap().clone();
    say(0..40);
    let began = wait("the starter", || decisions().first().cloned());
    assert_eq!((&began["verdict"], &began["by"]), (&json!("began"), &json!("idle")), "{began}");
    assert!(began["upper"].as_f64().unwrap() < 0.0 && began["turns"].as_u64().unwrap() >= 30, "{began}");
    let shown = &home.json(&["adapter", "show"])[0];
    assert_eq!((&shown["version"], &shown["lesson_tokens"]), (&json!(1), &json!(0)), "{shown}");
    let side = home.ask(&["--private", "--seed", "4", QUESTION]).side();
    assert!(side > 0);

    home.ok(&["adapter", "rollback"]);
    assert_eq!(home.ask(&["--private", "--seed", "4", QUESTION]).tokens, before.tokens);
    // More of the same does not bring it back: the person has said no.
    say(0..6);
    wait("the lessons", || {
        let stats = &home.json(&["stats"])[0];
        (stats["lessons"].as_u64().unwrap() >= 46).then_some(())
    });
    home.ok(&["learn", "--now"]);
    let told = decisions();
    assert_eq!(told.iter().filter(|d| d["verdict"] == "began").count(), 1, "{told:?}");
}

/// A tiny random model, with its weights and its tokenizer.
fn model(home: &Home, name: &str) -> String {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/engine").join(name);
    let to = home.path().join(name);
    std::fs::create_dir_all(&to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    to.display().to_string()
}

fn talks(people: &[&str]) -> String {
    let talk = |person: &str, n: usize| {
        let said = [("user", format!("I like my dog {n}.")), ("assistant", "What is its name?".to_owned())];
        let said: Vec<Value> =
            said.iter().map(|(role, content)| json!({ "role": role, "content": content })).collect();
        json!({ "user": person, "messages": said }).to_string() + "\n"
    };
    people.iter().flat_map(|person| (0..3).map(move |n| talk(person, n))).collect()
}

#[test]
fn a_backbone_is_prepared_and_a_starter_of_another_is_refused() {
    let home = Home::new(BINARY);
    let (qwen, llama) = (model(&home, "qwen2"), model(&home, "llama"));
    let text = home.file("talks.jsonl", &talks(&["a", "b", "c"]));
    let done = home.json(&["cloud", "prepare", &qwen, "--text", &text]).pop().unwrap();
    assert_eq!((&done["type"], &done["people"]), (&json!("done"), &json!(3)), "{done}");
    assert!(done["nll"]["open"].as_f64().unwrap() < done["nll"]["base"].as_f64().unwrap(), "{done}");
    let starter = Path::new(&qwen).join("aside.starter");
    let bytes = std::fs::read(&starter).unwrap();
    // The same text gives the same starter.
    home.json(&["cloud", "prepare", &qwen, "--text", &text]);
    assert_eq!(std::fs::read(&starter).unwrap(), bytes);

    let foreign = Path::new(&llama).join("aside.starter");
    let listen = format!("unix:{}", home.path().join("s").display());
    let refused = |bytes: &[u8]| {
        std::fs::write(&foreign, bytes).unwrap();
        let out = home.run(&["cloud", "serve", "--model", &llama, "--listen", &listen]);
        assert_eq!(out.status.code(), Some(1));
        String::from_utf8(out.stderr).unwrap()
    };
    assert!(refused(&bytes).contains("made for another model"));
    assert!(refused(&bytes[..100]).contains("damaged"));

    let fails = |arguments: &[&str], code: i32, why: &str| {
        let out = home.run(&[&["cloud", "prepare"], arguments].concat());
        let told = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.code() == Some(code) && told.contains(why), "{told}");
    };
    fails(&["bundled", "--text", &text], 2, "--out");
    fails(&[&qwen, "--text", &home.file("x.jsonl", "{")], 1, "line 1 is no conversation");
    let alone = home.file("alone.jsonl", talks(&["a"]).lines().next().unwrap());
    fails(&[&qwen, "--text", &alone], 1, "nobody in these files");
}
