//! Tests of lessons, their states, and versions.

use super::*;

fn other(turns: u32) -> SourceInput {
    let said: Vec<String> = (0..turns).map(|t| format!("other {t}")).collect();
    conversation(&said.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn every_fifth_lesson_is_held_out_for_ever() {
    let (_place, vault) = Place::new();
    assert_eq!(vault.add_import("a", "h1", &[source(12), other(13)], 1).unwrap(), ImportOutcome::Added(25));
    assert_eq!(vault.add_import("a", "h1", &[source(12)], 1).unwrap(), ImportOutcome::Known);
    let sources = vault.sources_without_states("m").unwrap();
    assert_eq!(sources.iter().map(|s| s.lessons.len()).collect::<Vec<_>>(), [12, 13]);
    for source in &sources {
        let states: Vec<_> = source.lessons.iter().map(|(_, id)| (*id, vec![1, 2], vec![0; 6])).collect();
        vault.put_states("m", &states).unwrap();
    }
    assert!(vault.sources_without_states("m").unwrap().is_empty());
    assert_eq!(vault.sources_without_states("other").unwrap().len(), 2);
    let parts: Vec<u8> = vault.lesson_sizes("m").unwrap().iter().map(|l| l.part).collect();
    let held: Vec<usize> = (0..25).filter(|n| parts[*n] != 0).collect();
    assert_eq!(held, [4, 9, 14, 19, 24]);
    assert_eq!(parts.iter().filter(|p| **p == 1).count(), 2);
    let totals = vault.lesson_totals("m").unwrap();
    assert_eq!(
        (totals.lessons, totals.tokens, totals.pending_tokens, totals.cached_bytes),
        (25, 50, 50, 150)
    );
    vault.add_adapter(&adapter(b"x", vault.newest_lesson().unwrap()), &promoted(), 2).unwrap();
    assert_eq!(vault.lesson_totals("m").unwrap().pending_tokens, 0);
}

#[test]
fn a_conversation_that_grows_keeps_its_lessons() {
    let (_place, vault) = Place::new();
    let id = vault.start_conversation("hello", 1, 10).unwrap();
    vault.begin_answer(id, Some("hello"), 10).unwrap();
    assert_eq!(vault.conversations_to_learn().unwrap(), [id]);
    assert_eq!(vault.set_chat_source(id, &source(2), 20).unwrap(), 2);
    assert!(vault.conversations_to_learn().unwrap().is_empty());
    let lessons = vault.sources_without_states("m").unwrap().remove(0).lessons;
    let states: Vec<_> = lessons.iter().map(|(_, id)| (*id, vec![1], vec![0])).collect();
    vault.put_states("m", &states).unwrap();
    vault.begin_answer(id, Some("more"), 30).unwrap();
    assert_eq!(vault.conversations_to_learn().unwrap(), [id]);
    assert_eq!(vault.set_chat_source(id, &source(4), 40).unwrap(), 2);
    assert_eq!(vault.lesson_sizes("m").unwrap().len(), 2, "states of the unchanged turns stay");
    // The last but one said otherwise: a new lesson in its place, and what came before stays.
    let parts = |vault: &Vault| vault.sources_without_states("m").unwrap().remove(0).lessons;
    let before = parts(&vault);
    let mut edited = conversation(&["a", "b"]);
    let mut old = source(4);
    edited.lessons[0].turn = 2;
    old.lessons[2] = edited.lessons.remove(0);
    (old.beginnings[2], old.beginnings[3]) = (hash("p"), hash("q"));
    assert_eq!(vault.set_chat_source(id, &old, 50).unwrap(), 1);
    assert_eq!(vault.lesson_sizes("m").unwrap().len(), 2);
    let after = parts(&vault);
    assert_eq!(after.iter().map(|(turn, _)| *turn).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(after[2].1 > before[3].1 && after[3] == before[3]);
}

#[test]
fn versions_are_verified_and_rolled_back() {
    let (_place, vault) = Place::new();
    assert_eq!(vault.adapter_in_use().unwrap(), InUse { adapter: None, damaged: vec![] });
    let checkpoint = Checkpoint {
        job: b"job".to_vec(),
        watermark: 3,
        seed: u64::MAX,
        variant: "spa".into(),
        bytes: b"state".to_vec(),
    };
    vault.put_checkpoint(&checkpoint).unwrap();
    assert_eq!(vault.checkpoint().unwrap(), Some(checkpoint));
    for n in 1..=7u64 {
        assert_eq!(vault.add_adapter(&adapter(&[n as u8; 9], 1), &promoted(), 1).unwrap(), n);
    }
    assert_eq!(vault.checkpoint().unwrap(), None);
    assert_eq!(vault.adapters().unwrap().iter().map(|a| a.version).collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
    assert_eq!(vault.use_version(None, "you", "{}", 5).unwrap(), 6);
    assert_eq!(vault.adapter_in_use().unwrap().adapter.unwrap().1, [6; 9]);
    vault
        .write("damage", |t| Ok(t.execute("UPDATE adapter SET bytes = x'00' WHERE version IN (5, 6)", [])?))
        .unwrap();
    let in_use = vault.adapter_in_use().unwrap();
    assert_eq!((in_use.adapter.unwrap().0.version, in_use.damaged), (4, vec![6, 5]));
    assert!(matches!(vault.adapter(5), Err(VaultError::Damaged(_))));
    assert!(matches!(vault.use_version(Some(1), "you", "{}", 5), Err(VaultError::NotFound(_))));
    assert_eq!(vault.use_version(Some(0), "you", "{}", 5).unwrap(), 0);
    assert_eq!(vault.adapter_in_use().unwrap().adapter, None);
}

#[test]
fn a_reply_taken_back_has_no_lesson() {
    let (_place, vault) = Place::new();
    let id = vault.start_conversation("hello", 1, 10).unwrap();
    assert_eq!(vault.set_chat_source(id, &source(4), 20).unwrap(), 4);
    assert_eq!(vault.set_chat_source(id, &source(3), 30).unwrap(), 0);
    let left = vault.sources_without_states("m").unwrap().remove(0);
    assert_eq!(left.lessons.iter().map(|(turn, _)| *turn).collect::<Vec<_>>(), [0, 1, 2]);
    vault.delete_conversation(id).unwrap();
    assert!(vault.sources_without_states("m").unwrap().is_empty());
    // The count of lessons goes on, so that what is held out does not depend on what was deleted.
    vault.add_import("a", "h", &[source(20)], 1).unwrap();
    let source = vault.sources_without_states("m").unwrap().remove(0);
    let states: Vec<_> = source.lessons.iter().map(|(_, id)| (*id, vec![1], vec![0])).collect();
    vault.put_states("m", &states).unwrap();
    let parts: Vec<u8> = vault.lesson_sizes("m").unwrap().iter().map(|l| l.part).collect();
    assert_eq!(parts, [1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
}

#[test]
fn states_that_chat_shipped_become_those_of_their_lesson() {
    let (_place, vault) = Place::new();
    let conversation = vault.start_conversation("t", 1, 0).unwrap();
    let Begun { question, answer, .. } = vault.begin_answer(conversation, Some("q"), 0).unwrap();
    vault.put_shipped(answer, "m", &[4, 5], b"states").unwrap();
    let mut input = source(2);
    input.lessons.iter_mut().zip([question, answer]).for_each(|(l, id)| l.message = Some(id));
    vault.set_chat_source(conversation, &input, 1).unwrap();
    let source = vault.sources_without_states("m").unwrap().remove(0);
    assert_eq!(vault.source_of(conversation).unwrap(), Some(source.id));
    assert_eq!(vault.source_of(conversation + 1).unwrap(), None);
    assert_eq!(vault.shipped("m", source.id).unwrap(), [(1, vec![4, 5], b"states".to_vec())]);
    assert!(vault.shipped("other", source.id).unwrap().is_empty());
    let rows: Vec<_> = source.lessons.iter().map(|(_, id)| (*id, vec![4, 5], b"states".to_vec())).collect();
    vault.put_states("m", &rows).unwrap();
    assert!(vault.shipped("m", source.id).unwrap().is_empty());
    vault.delete_conversation(conversation).unwrap();
    assert!(vault.lesson_sizes("m").unwrap().is_empty());
}

#[test]
fn a_decision_is_carried_out_and_recorded_and_what_is_in_use_is_never_dropped() {
    let (_place, vault) = Place::new();
    for n in 1..=2u8 {
        vault.add_adapter(&adapter(&[n], 1), &promoted(), 1).unwrap();
    }
    let refused = Decision { promote: false, verdict: "not better".into(), ..promoted() };
    for n in 3..11u8 {
        vault.add_adapter(&adapter(&[n], 1), &refused, 2).unwrap();
    }
    assert_eq!(vault.version_in_use().unwrap(), 2);
    let kept: Vec<u64> = vault.adapters().unwrap().iter().map(|row| row.version).collect();
    assert_eq!(kept, [1, 2, 10], "refused ones push out none that was good");
    vault.use_version(Some(10), "you", "{}", 3).unwrap();
    assert_eq!(vault.use_version(None, "you", "{}", 4).unwrap(), 2, "back is to a promoted one");
    let rows = vault.decisions().unwrap();
    let told: Vec<_> = rows.iter().map(|r| (r.version, r.against, r.verdict.as_str())).collect();
    assert_eq!(told[1..3], [(2, 1, "promoted"), (3, 2, "not better")]);
    assert_eq!(told[10..], [(10, 2, "put in use"), (2, 10, "rolled back")]);
}

#[test]
fn newer_lessons_are_the_memorys_next_rows_until_a_rollback_hides_them() {
    let (_place, vault) = Place::new();
    let learn = |said: &str| {
        vault.add_import(said, said, &[conversation(&[said])], 1).unwrap();
        let source = vault.sources_without_states("m").unwrap().remove(0);
        vault.put_states("m", &[(source.lessons[0].1, vec![1], vec![0])]).unwrap();
        source.lessons[0].1
    };
    let since =
        |version| -> Vec<i64> { vault.lessons_since(version, "m").unwrap().iter().map(|l| l.id).collect() };
    let (first, mark) = (learn("a"), vault.states_mark().unwrap());
    vault.add_adapter(&adapter(b"1", first), &promoted(), 1).unwrap();
    let second = learn("b");
    assert_ne!(vault.states_mark().unwrap(), mark);
    let refused = Decision { promote: false, verdict: "not better".into(), ..promoted() };
    vault.add_adapter(&adapter(b"2", second), &refused, 2).unwrap();
    assert_eq!(since(1), [second], "a refused candidate takes nothing away");
    vault.add_adapter(&adapter(b"3", second), &promoted(), 3).unwrap();
    vault.use_version(Some(1), "you", "{}", 4).unwrap();
    assert_eq!(since(1), [0i64; 0]);
    let third = learn("c");
    assert_eq!(since(1), [third]);
    vault.use_version(Some(3), "you", "{}", 5).unwrap();
    assert_eq!(since(3), [third]);
}

#[test]
fn what_an_earlier_import_brought_is_not_brought_again() {
    let (_place, vault) = Place::new();
    let import = |sha: &str, sources: &[SourceInput]| vault.add_import("f", sha, sources, 1).unwrap();
    assert_eq!(import("1", &[conversation(&["a", "b"]), conversation(&["a"])]), ImportOutcome::Added(3));
    let sources = || vault.sources_without_states("m").unwrap();
    // The same, one that grew, and one that only begins alike.
    let more = [conversation(&["a", "b"]), conversation(&["a", "b", "c"]), conversation(&["d", "x"])];
    assert_eq!(import("2", &more), ImportOutcome::Added(3));
    assert_eq!(sources()[0].lessons.len(), 3, "what grew goes on in its source");
    assert!(sources()[0].lines.contains("\"c\""));
    // Cut and put together anew: the turns are known.
    assert_eq!(
        import("3", &[conversation(&["b", "c"]), conversation(&["z", "x", "y"])]),
        ImportOutcome::Added(2)
    );
    let turns: Vec<u32> = sources().last().unwrap().lessons.iter().map(|(turn, _)| *turn).collect();
    assert_eq!(turns, [0, 2]);
    assert_eq!(vault.turns_known(&[hash("y"), hash("never")]).unwrap(), 1);
}

#[test]
fn people_and_unrated_replies_are_held_out_alike() {
    let (_place, vault) = Place::new();
    let mut chat = source(40);
    chat.lessons.iter_mut().filter(|l| !l.own).for_each(|l| l.weight = 0.05);
    vault.add_import("a", "h", &[chat], 1).unwrap();
    let source = vault.sources_without_states("m").unwrap().remove(0);
    let states: Vec<_> = source.lessons.iter().map(|(_, id)| (*id, vec![1], vec![0])).collect();
    vault.put_states("m", &states).unwrap();
    let found = vault.lesson_sizes("m").unwrap();
    for judged in [true, false] {
        let parts: Vec<u8> = found.iter().filter(|l| (l.weight >= 0.5) == judged).map(|l| l.part).collect();
        assert_eq!(parts.iter().filter(|p| **p == 2).count(), 3);
        assert_eq!(parts.iter().filter(|p| **p == 1).count(), 1);
    }
    let two: std::collections::BTreeSet<i64> = found.iter().take(2).map(|l| l.id).collect();
    vault.evict("m", &two).unwrap();
    assert_eq!(vault.lesson_sizes("m").unwrap().len(), 38);
    assert!(vault.sources_without_states("m").unwrap().is_empty(), "what gave way is not fetched again");
    assert_eq!(
        (vault.lesson_totals("m").unwrap().evicted, vault.lessons("m", &two).unwrap()[0].states.len()),
        (2, 0)
    );
}

fn keep(bytes: &[u8], _: &[i64]) -> std::result::Result<(Vec<u8>, usize), String> {
    Ok((bytes.to_vec(), 1))
}

#[test]
fn versions_that_knew_what_is_forgotten_go_and_only_one_in_use_waits() {
    let (_place, vault) = Place::new();
    vault.add_import("a", "h1", &[source(3)], 1).unwrap();
    let first = vault.newest_lesson().unwrap();
    vault.add_adapter(&adapter(b"1", first), &promoted(), 2).unwrap();
    vault.add_import("b", "h2", &[other(3)], 3).unwrap();
    let refused = Decision { promote: false, verdict: "not better".into(), ..promoted() };
    vault.add_adapter(&adapter(b"2", vault.newest_lesson().unwrap()), &refused, 4).unwrap();
    let versions = |vault: &Vault| vault.adapters().unwrap().iter().map(|v| v.version).collect::<Vec<_>>();
    assert_eq!(vault.forget(&Wanted::File("b".into()), &keep, 5).unwrap().versions, [2]);
    assert_eq!((versions(&vault), vault.tainted().unwrap()), (vec![1], false), "nothing in use knew it");
    assert_eq!(vault.forget(&Wanted::File("a".into()), &keep, 6).unwrap().versions, [1]);
    assert_eq!((versions(&vault), vault.tainted().unwrap()), (vec![1], true));
    // The person does not wait for the next one.
    assert_eq!(vault.use_version(Some(0), "you", "{}", 7).unwrap(), 0);
    assert_eq!((versions(&vault), vault.tainted().unwrap()), (vec![], false));
}

#[test]
fn a_starter_begins_once_and_stands_aside_for_what_is_learned() {
    let (_place, vault) = Place::new();
    let began = Decision { verdict: BEGAN.into(), by: "idle".into(), ..promoted() };
    assert!(!vault.was_anything_used().unwrap());
    assert!(vault.add_starter(&adapter(b"s", 0), &began, 1).unwrap());
    assert!(vault.was_anything_used().unwrap());
    assert!(!vault.add_starter(&adapter(b"s", 0), &began, 2).unwrap(), "something is in use");
    vault.add_import("a", "h1", &[source(3)], 3).unwrap();
    let newest = vault.newest_lesson().unwrap();
    assert_eq!(vault.add_adapter(&adapter(b"1", newest), &promoted(), 4).unwrap(), 2);
    assert_eq!(vault.adapters().unwrap().len(), 2, "the starter is kept");
    assert_eq!(
        vault.forget(&Wanted::File("a".into()), &keep, 5).unwrap().versions,
        [2],
        "it knows no lesson"
    );
    assert_eq!(vault.use_version(None, "you", "{}", 6).unwrap(), 0, "back is to base, not to a starter");
    assert!(!vault.add_starter(&adapter(b"s", 0), &began, 7).unwrap(), "the person has said no");
    assert_eq!(vault.use_version(Some(1), "you", "{}", 8).unwrap(), 1);
}
