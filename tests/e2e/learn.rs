//! The real binary learns a person, shows side tokens, forgets by rollback, and keeps its secrets.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use aside_tests::{Home, alive, kill, lessons, signal, wait};
use std::process::Stdio;

const BINARY: &str = env!("CARGO_BIN_EXE_aside");
const QUESTION: &str = "Tell me about your dog and the harbor.";
const CANARY: &str = "The zanzibarquokka hides under the ninth staircase";

#[test]
fn it_learns_shows_and_rolls_back() {
    let home = Home::ready(BINARY);
    let before = home.ask(&["--seed", "4", QUESTION]);
    let train = home.file("train.jsonl", &lessons::chat(0, 30));
    let test = home.file("test.jsonl", &lessons::chat(40, 8));

    home.ok(&["learn", "--seed", "1", &train]);
    let eval = home.json(&["adapter", "eval", &test]);
    assert_eq!(eval.len(), 1);
    for part in ["all", "own", "replies"] {
        let e = &eval[0][part];
        let number = |key: &str| e[key].as_f64().unwrap();
        assert!(e["tokens"].as_u64().unwrap() > 100);
        assert!((0.0..=1.0).contains(&number("open_rate")));
        assert!(
            number("diff_pick_rate") <= number("diff_rate")
                && number("diff_pick_rate") <= number("open_rate")
        );
        let (base, gated) = (e["nll"]["base"].as_f64().unwrap(), e["nll"]["gated"].as_f64().unwrap());
        assert!((number("gated_cost") - gated - 0.05 * number("open_rate")).abs() < 1e-9);
        assert!(base > 0.0 && e["nll"]["open"].as_f64().unwrap() > 0.0);
    }
    let all = &eval[0]["all"];
    let sum = eval[0]["own"]["tokens"].as_u64().unwrap() + eval[0]["replies"]["tokens"].as_u64().unwrap();
    assert_eq!(all["tokens"].as_u64().unwrap(), sum);
    assert!(all["nll"]["gated"].as_f64().unwrap() < all["nll"]["base"].as_f64().unwrap(), "{all}");
    assert!(all["open_rate"].as_f64().unwrap() > 0.0, "{all}");

    let after = home.ask(&["--seed", "4", QUESTION]);
    assert!(after.side() > 0, "{:?}", after.done);
    assert_eq!(after.done["transmissions"], after.side());
    assert!(after.tokens.iter().all(|t| t["p"].is_f64()));
    // Above the threshold, which the budget sets, the device chooses.
    let p = |source: &str| -> Vec<f64> {
        after.tokens.iter().filter(|t| t["source"] == source).map(|t| t["p"].as_f64().unwrap()).collect()
    };
    let lowest = p("side").into_iter().fold(1.0, f64::min);
    assert!(lowest > 0.5 && p("base").iter().all(|p| *p <= lowest));
    assert_eq!(home.ask(&["--seed", "4", QUESTION]).tokens, after.tokens);
    assert_eq!(home.ask(&["--seed", "4", "--variant", "base", QUESTION]).ids(), before.ids());

    let known = home.json(&["learn", &train]);
    assert!(known.iter().any(|e| e["already_known"] == true), "{known:?}");

    home.ok(&["adapter", "rollback", "0"]);
    assert_eq!(home.ask(&["--seed", "4", QUESTION]).tokens, before.tokens);
    let list = home.json(&["adapter", "list"]);
    assert!(list.iter().flat_map(|l| l.as_array().cloned().unwrap_or_else(|| vec![l.clone()])).count() >= 1);
    home.ok(&["adapter", "rollback", "1"]);
    assert_eq!(home.ask(&["--seed", "4", QUESTION]).tokens, after.tokens);
}

#[test]
fn a_canary_is_nowhere_in_plain_text() {
    let home = Home::ready(BINARY);
    let line = serde_json::json!({"messages": [{"role": "user", "content": CANARY}, {"role": "assistant", "content": CANARY}]});
    let file = home.file("canary.jsonl", &format!("{}{line}\n", lessons::chat(0, 6)));
    home.ask(&["--max-tokens", "20", CANARY]);
    home.ok(&["learn", &file]);
    home.ok(&["stats"]);
    let found = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        CANARY.split(' ').filter(|w| w.len() > 8).any(|w| text.contains(w))
    };
    for running in [true, false] {
        let files = home.files(&["canary.jsonl"]);
        assert!(files.iter().any(|(path, _)| path.to_string_lossy().contains("vault")));
        for (path, bytes) in files {
            assert!(!found(&bytes), "{} (running: {running})", path.display());
        }
        home.ok(&["daemon", "stop"]);
    }
}

#[test]
fn damaged_lessons_are_counted_and_hopeless_files_refused() {
    let home = Home::ready(BINARY);
    let mixed = home.file("mixed.jsonl", &format!("{}not json\n{{\"messages\": 3}}\n", lessons::chat(0, 3)));
    let events = home.json(&["learn", &mixed]);
    let imported = events.iter().find(|e| e["type"] == "imported").unwrap();
    assert_eq!(
        (imported["conversations"].as_u64(), imported["skipped"].as_u64()),
        (Some(3), Some(2)),
        "{imported}"
    );
    std::fs::write(home.path().join("binary.txt"), [0xff, 0xfe, 0x00]).unwrap();
    let refused = home.run(&["learn", "binary.txt"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("UTF-8"));
}

#[test]
fn the_trainer_steps_back_and_one_that_is_killed_is_gone_on_with() {
    let home = Home::ready(BINARY);
    let file = home.file("train.jsonl", &lessons::chat(0, 12));
    let learning = home.command(&["learn", "--json", &file]).stdout(Stdio::piped()).spawn().unwrap();
    let trainer = wait("the trainer", || home.trainer());
    if cfg!(target_os = "linux") {
        let stat = || std::fs::read_to_string(format!("/proc/{trainer}/stat")).unwrap_or_default();
        // Field 41 is the scheduling policy, 5 is SCHED_IDLE; the name before them may hold spaces.
        let policy =
            || stat().rsplit(") ").next().and_then(|rest| rest.split(' ').nth(38).map(str::to_owned));
        wait("a trainer that computes when no one else does", || policy().filter(|p| p == "5"));
        let score = || std::fs::read_to_string(format!("/proc/{trainer}/oom_score_adj")).ok();
        wait("a trainer that goes first", || score().filter(|s| s.trim() == "800"));
    }
    kill(trainer);
    let output = learning.wait_with_output().unwrap();
    assert!(!output.status.success());
    let last = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
    let error: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!((&error["type"], &error["repair"]), (&"error".into(), &"aside learn --now".into()), "{error}");
    let done = home.json(&["learn", "--now"]);
    assert_eq!(done.last().unwrap()["trained"], true);
    let log = home.json(&["adapter", "log"]);
    let decisions = log[0].as_array().unwrap();
    assert_eq!(decisions.len(), 1);
    assert_eq!((&decisions[0]["version"], &decisions[0]["by"]), (&1.into(), &"you".into()));
}

#[test]
fn the_switch_of_learning_by_itself_outlives_the_daemon() {
    let home = Home::ready(BINARY);
    let paused = |arguments: &[&str]| home.json(&[&["learn"], arguments].concat())[0]["paused"].clone();
    assert_eq!(paused(&["--status"]), false);
    assert_eq!(paused(&["--pause"]), true);
    home.ok(&["daemon", "stop"]);
    assert_eq!(paused(&["--status"]), true);
    assert_eq!(paused(&["--resume"]), false);
}

#[test]
fn a_file_that_grew_brings_only_what_is_new_and_what_was_learned_is_no_measure() {
    let home = Home::ready(BINARY);
    let lessons_in = |home: &Home| home.json(&["stats"])[0]["lessons"].as_u64().unwrap();
    let file = home.file("train.jsonl", &lessons::chat(0, 10));
    home.ok(&["learn", &file]);
    let first = lessons_in(&home);
    home.file("train.jsonl", &lessons::chat(0, 11));
    home.ok(&["learn", &file]);
    let per_conversation = first / 10;
    assert!(lessons_in(&home) <= first + per_conversation && lessons_in(&home) > first);

    let notes = home.file("notes.txt", "I feed the puffins at dawn.\n\nThe lighthouse has ninety steps.\n");
    home.ok(&["learn", &notes]);
    home.file("notes.txt", "I feed the puffins at dawn.\n\nThe lighthouse has ninety steps.\n\nIt rains.\n");
    let before = lessons_in(&home);
    home.ok(&["learn", &notes]);
    assert_eq!(lessons_in(&home), before + 1);

    let eval = home.run(&["adapter", "eval", &notes]);
    let told = String::from_utf8_lossy(&eval.stderr).into_owned();
    assert!(told.contains("3 of 3 turns are lessons"), "{told}");
    let other = home.file("other.txt", "Nobody ever said this before.\n");
    let told = home.run(&["adapter", "eval", &other]).stderr;
    assert!(!String::from_utf8_lossy(&told).contains("are lessons"));
}

#[test]
fn a_trainer_that_rests_ends_with_its_daemon() {
    let home = Home::ready(BINARY);
    let file = home.file("train.jsonl", &lessons::chat(0, 12));
    let mut learning = home.command(&["learn", "--json", &file]).stdout(Stdio::null()).spawn().unwrap();
    let trainer = wait("the trainer", || home.trainer());
    let stat = || std::fs::read_to_string(format!("/proc/{trainer}/stat")).unwrap_or_default();
    wait("a trainer at work", || {
        stat().rsplit(") ").next().filter(|rest| rest.split(' ').nth(38) == Some("5")).map(drop)
    });
    signal(trainer, "-STOP");
    kill(home.daemon());
    wait("the trainer's end", || (!alive(trainer)).then_some(()));
    assert!(!learning.wait().unwrap().success());
    assert_eq!(home.json(&["learn", "--now"]).last().unwrap()["trained"], true);
}

#[test]
fn what_is_forgotten_is_gone_from_every_version_and_a_sealed_version_travels() {
    let home = Home::ready(BINARY);
    let first = home.file("first.jsonl", &lessons::chat(0, 12));
    let notes = ["rye", "oats", "barley", "flax", "hemp", "hops", "peas", "beans", "leeks", "chard"];
    let notes =
        notes.map(|crop| format!("Behind the barn I sowed {crop} before the first rain.\n\n")).concat();
    let second = home.file("second.txt", &notes);
    home.ok(&["learn", &first]);
    home.ok(&["learn", &second]);
    let sources = home.json(&["adapter", "sources"]);
    let names: Vec<_> = sources[0].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["first.jsonl", "second.txt"]);

    // A version that travels answers as it did at home.
    let answer = home.ask(&["--seed", "4", QUESTION]);
    let secret = home.file("passphrase", "open sesame\n");
    home.ok(&["adapter", "export", "sealed", "--passphrase-file", &secret]);
    let again = home.run(&["adapter", "export", "sealed", "--passphrase-file", &secret]);
    assert!(!again.status.success(), "nothing is written over");
    let other = Home::ready(BINARY);
    let sealed = home.path().join("sealed").to_string_lossy().into_owned();
    let wrong = other.file("wrong", "open barley\n");
    let refused = other.run(&["adapter", "import", &sealed, "--passphrase-file", &wrong]);
    assert_eq!(refused.status.code(), Some(1));
    other.ok(&["adapter", "import", &sealed, "--passphrase-file", &secret]);
    assert_eq!(other.ask(&["--seed", "4", QUESTION]).tokens, answer.tokens);

    let rows = |home: &Home| home.json(&["adapter", "show"])[0]["memory_rows"].as_u64().unwrap();
    let before = rows(&home);
    let unknown = home.run(&["adapter", "forget", "third.jsonl"]);
    assert_eq!(unknown.status.code(), Some(1));
    let events = home.json(&["adapter", "forget", "first.jsonl"]);
    let forgotten = events.iter().find(|e| e["type"] == "forgotten").unwrap();
    assert!(forgotten["rows"].as_u64().unwrap() > 0, "{forgotten}");
    assert_eq!(forgotten["versions"], serde_json::json!([1, 2]));
    assert_eq!(events.last().unwrap()["promoted"], true);
    assert!(rows(&home) < before);
    let list = home.json(&["adapter", "list"]);
    let versions: Vec<u64> =
        list[0].as_array().unwrap().iter().map(|a| a["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, [0, 3], "versions that had learned it are deleted");

    // Nothing remains: base answers, as on the first day.
    home.ok(&["adapter", "forget", "second.txt"]);
    home.ok(&["adapter", "forget", "1"]);
    let list = home.json(&["adapter", "list"]);
    assert_eq!(list[0].as_array().unwrap().len(), 1);
    assert_eq!(home.json(&["stats"])[0]["lessons"], 0);
    assert_eq!(home.ask(&["--seed", "4", QUESTION]).side(), 0);
}
