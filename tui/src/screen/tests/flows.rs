//! Whole flows as triples: what happens, which keys are typed, what must follow (an effect, or words on the screen).

use aside_daemon_api::proto;
use rstest::rstest;

use super::{Bench, head, problem, status};
use crate::screen::event::{Effect, Event};
use crate::screen::theme::Palette;

/// What can happen between keys.
fn happen(bench: &mut Bench, what: &str) {
    let (name, rest) = what.split_once(' ').unwrap_or((what, ""));
    match name {
        "" => {}
        "connected" => bench.send(Event::Connected),
        "absent" => {
            bench.send(Event::Status(status(proto::VaultState::Absent, proto::LinkState::Connecting)))
        }
        // Keyring and key file are still being tried.
        "trying" => {
            let mut found = status(proto::VaultState::Locked, proto::LinkState::Connecting);
            found.vault_detail.clear();
            bench.send(Event::Status(found));
        }
        "locked" => {
            bench.send(Event::Status(status(proto::VaultState::Locked, proto::LinkState::Connecting)))
        }
        "open" => bench.send(Event::Status(status(proto::VaultState::Open, proto::LinkState::Connecting))),
        "up" => bench.send(Event::Status(status(proto::VaultState::Open, proto::LinkState::Up))),
        "away" => bench.send(Event::Status(status(proto::VaultState::Open, proto::LinkState::Away))),
        "refused" => bench.send(Event::Status(status(proto::VaultState::Open, proto::LinkState::Refused))),
        "keyring" => bench.send(Event::Keyring(true)),
        "nokeyring" => bench.send(Event::Keyring(false)),
        "made" => bench.send(Event::Made("Kept in the keyring.".to_owned())),
        "notmade" => bench.send(Event::NotMade(problem("internal", "no keyring answers", ""))),
        "wrong" => bench.send(Event::NotUnlocked(problem("wrong-key", "that is not the passphrase", ""))),
        "unlocked" => bench.send(Event::Unlocked),
        "started" => bench.started(7),
        "begun" => bench.started(0),
        "cut" => {
            let (code, message) = ("context-cut".to_owned(), "no longer sees".to_owned());
            let notice = proto::ask_event::Event::Notice(proto::AskNotice { code, message });
            bench.send(Event::Answer(bench.number(), notice));
        }
        "base" => bench.tokens(&[(' ', rest)]),
        "side" => bench.tokens(&[('s', rest)]),
        "changed" => bench.tokens(&[('c', rest)]),
        "done" => bench.done(rest, (2, 1, 0)),
        "busy" => bench.send(Event::AnswerFailed(bench.number(), problem("busy", "busy", ""))),
        "failed" => {
            bench.send(Event::AnswerFailed(bench.number(), problem("cloud-away", "no cloud", "aside doctor")))
        }
        "lost" => bench.send(Event::Lost(problem("daemon", "the daemon has stopped", ""))),
        "tick" => bench.tick(rest.parse().unwrap()),
        "paste" => bench.send(Event::Paste(rest.to_owned())),
        "resize" => bench.send(Event::Resize(rest.parse().unwrap(), 24)),
        "heads" => bench.send(Event::Conversations(vec![head(9, "the other", 4), head(7, "this one", 2)])),
        "opened" => {
            let message = |role: &str, text: &str| proto::Message {
                role: role.to_owned(),
                text: text.to_owned(),
                ..Default::default()
            };
            let messages = vec![message("user", "an old question"), message("assistant", "an old answer")];
            let conversation =
                proto::Conversation { head: Some(head(9, "the other", 2)), messages, draft: rest.to_owned() };
            bench.send(Event::Opened(conversation));
        }
        "restored" => {
            let conversation = proto::Conversation { draft: rest.to_owned(), ..Default::default() };
            bench.send(Event::Restored(conversation));
        }
        "switched" => {
            let mut on = rest.split(' ').map(|word| word == "on");
            let (learn, use_adapter) = (on.next().unwrap(), on.next().unwrap());
            let head = proto::ConversationHead { learn, use_adapter, ..head(7, "this one", 2) };
            bench.send(Event::Switched(head));
        }
        "learned" => {
            let adapter = proto::Adapter { version: 3, lesson_tokens: 812, ..Default::default() };
            let done = proto::LearnDone {
                adapter: Some(adapter),
                trained: true,
                promoted: true,
                ..Default::default()
            };
            bench.send(Event::Learn(proto::learn_event::Event::Done(done)));
        }
        other => panic!("no such happening: {other}"),
    }
}

/// The newest effects in short words.
fn short(effect: &Effect) -> String {
    match effect {
        Effect::Ask(_, request) if request.regenerate => format!("again in {}", request.conversation),
        Effect::Ask(_, request) if request.private => {
            format!("ask {:?} in private after {} messages", request.text, request.history.len())
        }
        Effect::Ask(_, request) => format!("ask {:?} in {}", request.text, request.conversation),
        Effect::Cancel(_) => "cancel".to_owned(),
        Effect::SaveDraft { conversation, text } => format!("draft {text:?} in {conversation}"),
        Effect::Rate(r) => format!("rate {} {:?} in {}", r.rating, r.text, r.conversation),
        Effect::Switch(r) => format!("switch {:?} {:?} in {}", r.learn, r.use_adapter, r.conversation),
        Effect::Restore => "restore".to_owned(),
        Effect::List => "list".to_owned(),
        Effect::Open(id) => format!("open {id}"),
        Effect::Init { key, passphrase } => format!("init {key} {passphrase:?}"),
        Effect::Unlock(passphrase) => format!("unlock {passphrase:?}"),
        Effect::ProbeKeyring => "probe".to_owned(),
        Effect::Learn => "learn".to_owned(),
        Effect::Quit => "quit".to_owned(),
    }
}

/// Steps `(happenings; separated, keys, expected)`. Expected: `=a; b` are exactly the effects of the step, `~words`
/// must not be on the screen, other words must be there; several are separated by `|`.
fn flow(steps: &[(&str, &str, &str)]) {
    let mut bench = Bench::new(Palette::Plain, (80, 24));
    for (i, (happenings, keys, expected)) in steps.iter().enumerate() {
        let before = bench.effects.len();
        for what in happenings.split("; ") {
            happen(&mut bench, what);
        }
        bench.keys(keys);
        let effects = bench.effects[before..].iter().map(short).collect::<Vec<_>>().join("; ");
        let screen = bench.screen();
        for want in expected.split('|') {
            match (want.strip_prefix('='), want.strip_prefix('~')) {
                (Some(want), _) => assert_eq!(effects, want, "step {i}\n{screen}"),
                (_, Some(absent)) => {
                    assert!(!screen.contains(absent), "step {i}: {absent:?} is there\n{screen}")
                }
                _ => assert!(screen.contains(want), "step {i}: no {want:?}\n{screen}"),
            }
        }
    }
}

#[rstest]
#[case::sent_before_ready(&[
    ("", "hello<ret>", "=|hello|waits to be sent"),
    ("connected; open", "", "=|waits to be sent|connecting"),
    ("up", "", "=ask \"hello\" in 0|~waits to be sent"),
    ("started; base Hi; side  you", "", "Hi you|base 1  side 1 (^changed 0)"),
    ("done Hi you", "more<ret>", "=ask \"more\" in 7|open 50%"),
])]
#[case::queue_while_answering(&[
    ("up", "one<ret>two<ret>", "=restore; ask \"one\" in 0|waits to be sent"),
    ("started; base A; done A", "", "=ask \"two\" in 7"),
])]
#[case::stop_then_leave(&[
    ("up", "one<ret>", ""),
    ("started; base So far", "<C-c>", "=cancel|So far|(stopped)"),
    ("base late", "", "~late"),
    ("", "draft<C-c>", "=draft \"draft\" in 7; quit"),
])]
#[case::stopped_before_it_began(&[
    ("up", "one<ret>", ""),
    ("", "<C-c>", "=|(stopped)"),
    ("started", "", "=cancel|one"),
    ("", "two<ret>", "=ask \"two\" in 7"),
])]
#[case::twice_leaves_also_before_it_began(&[("up", "one<ret>", ""), ("", "<C-c>", "="), ("", "<C-c>", "=cancel; quit")])]
#[case::too_late_for_the_answer(&[
    ("up", "one<ret>", ""),
    ("tick 1; started; base A; done A", "<C-c>", "="),
    ("", "<C-c>", "=quit"),
])]
#[case::later_it_leaves(&[
    ("up", "one<ret>", ""),
    ("tick 1; started; base A; done A; tick 2", "<C-c>", "=quit"),
])]
#[case::stopped_again_keeps_the_old_answer(&[
    ("up", "one<ret>", ""),
    ("started; base Old; done Old", "<C-r>", "~Old"),
    ("started", "<C-c>", "=cancel|Old"),
])]
#[case::an_answer_is_rated(&[
    ("up", "/good<ret>", "=restore|no finished answer"),
    ("", "one<ret>", ""),
    ("started; base A; done A", "/good<ret>", "=rate good \"\" in 7|(good)"),
    ("", "/bad<ret>", "=rate bad \"\" in 7|(bad)"),
])]
#[case::an_answer_is_rewritten(&[
    ("up", "one<ret>", ""),
    ("started; base Wrong; done Wrong", "/edit<ret>", "> Wrong|keeps your version"),
    ("", "<esc>", "=|~> Wrong|~(edited"),
    ("", "/edit<ret>er<ret>", "=rate edited \"Wronger\" in 7|Wronger|(edited by you)"),
])]
#[case::a_conversation_has_switches(&[
    ("up", "/learnable<ret>", "=restore|has not begun"),
    ("", "one<ret>", ""),
    ("started; base A; done A", "/learnable<ret>", "=switch Some(false) None in 7"),
    ("switched off on", "", "not learned from any more"),
    ("", "/adapter<ret>", "=switch None Some(false) in 7"),
    ("switched off off", "/learnable<ret>", "=switch Some(true) None in 7|base answers"),
])]
#[case::a_private_conversation_is_kept_nowhere(&[
    ("up", "alpha<ret>", ""),
    ("started; base A; done A", "/private<ret>", "=|Private: no message|private, kept nowhere|~alpha"),
    ("tick 5; opened late", "secret", "=|private, kept nowhere|~late"),
    ("tick 9", "<ret>", "=ask \"secret\" in private after 0 messages"),
    ("begun; base B; done B", "more<ret>", "=ask \"more\" in private after 2 messages"),
    ("begun; base Cedar; done Cedar; tick 20", "<C-r>", "=ask \"more\" in private after 2 messages|~Cedar"),
    ("begun; cut; base Elm; done Elm; tick 25", "<C-r>", "=ask \"more\" in private after 2 messages|~Elm"),
    ("begun; base D; done D; tick 30", "/good<ret>", "=|kept nowhere, and nothing"),
    ("", "/learnable<ret>", "="),
    ("", "/new<ret>", "=|~secret|new conversation|~kept nowhere"),
    ("", "two<ret>", "=ask \"two\" in 0"),
])]
#[case::leave_when_idle(&[("up", "<C-c>", "=restore; quit")])]
#[case::leave_before_anything(&[("", "<C-d>", "=quit")])]
#[case::ctrl_d_edits_a_draft(&[("up", "ab<home><C-d>", "=restore|> b")])]
#[case::queued_comes_back(&[
    ("up", "one<ret>two<ret>", ""),
    ("started", "<C-c>", "=cancel|> two"),
])]
#[case::unready_queue_comes_back(&[("", "one<ret>", ""), ("", "two<C-c>", "=|> one")])]
#[case::busy_is_asked_again(&[
    ("up", "one<ret>", "=restore; ask \"one\" in 0"),
    ("busy", "", "=|waits to be sent"),
    ("tick 1", "", "=ask \"one\" in 0"),
])]
#[case::failure_gives_the_question_back(&[
    ("up", "one<ret>", ""),
    ("failed", "", "=|! no cloud|repair: aside doctor|> one"),
    ("", "<esc>", "~no cloud"),
])]
#[case::failure_in_the_middle(&[
    ("up", "one<ret>", ""),
    ("started; base Half; failed", "", "Half|broke off|no cloud"),
    ("", "<C-r>", "=again in 7|~Half"),
    ("started; base Whole; done Whole", "", "Whole"),
])]
#[case::failed_again_keeps_the_old_answer(&[
    ("up", "one<ret>", ""),
    ("started; base Old; done Old", "<C-r>", "~Old"),
    ("failed", "", "Old|no cloud"),
])]
#[case::refused_cloud_still_asks(&[("refused", "one<ret>", "=restore; ask \"one\" in 0")])]
#[case::away_cloud_waits(&[("away", "one<ret>", "=restore|waits to be sent|cloud is away")])]
#[case::draft_at_pauses(&[
    ("up; tick 1", "abc", "=restore"),
    ("tick 1.5", "", "="),
    ("tick 2", "", "=draft \"abc\" in 0"),
    ("tick 9", "", "="),
    ("", "<ret>", "=draft \"\" in 0; ask \"abc\" in 0"),
])]
#[case::draft_moves_with_its_conversation(&[
    ("up", "one<ret>two", "=restore; ask \"one\" in 0"),
    ("tick 2", "", "=draft \"two\" in 0"),
    ("started", "", "=draft \"\" in 0"),
    ("tick 4", "", "=draft \"two\" in 7"),
])]
#[case::draft_comes_back(&[("up", "", "=restore"), ("restored half a thought", "", "> half a thought")])]
#[case::typed_ahead_beats_the_draft(&[("", "new", ""), ("up", "", "="), ("restored old", "", "> new|~old")])]
#[case::switch(&[
    ("up", "one<ret>", ""),
    ("started; base A; done A", "keep<C-l>", "=list|reading"),
    ("heads", "<up><ret>", "=draft \"keep\" in 7; open 9"),
    ("opened left here", "", "an old answer|the other|> left here|~keep"),
    ("", "<C-n>", "=|new conversation|~an old answer"),
])]
#[case::no_switch_while_answering(&[
    ("up", "one<ret>", ""),
    ("started", "<C-n>", "=|Ctrl+C stops it"),
])]
#[case::slash_commands(&[
    ("up", "/li", "/list list the conversations"),
    ("", "<tab><ret>", "=list|Conversations"),
    ("", "<esc>/help<ret>", "=|send the message"),
    ("", "<esc>/learn<ret>", "=learn|learning"),
    ("learned", "", "Learned: adapter 3 from 812 tokens"),
    ("", "/quit<ret>", "=quit"),
])]
#[case::first_run_keyring(&[
    ("connected; absent", "", "=probe|Stays here|Leaves|Learns|> 2 passphrase"),
    ("keyring; tick 1", "", "> 1 system keyring"),
    ("", "<ret>", "=init keyring \"\"|Making"),
    ("made", "", "=restore|Kept in the keyring|~Stays here"),
])]
#[case::first_run_passphrase(&[
    ("absent; nokeyring; tick 1", "<ret>", "=probe|A passphrase"),
    ("", "pass<ret>", "=|once more|~pass<"),
    ("", "pasd<ret>", "=|not the same"),
    ("", "pass<ret>pass<ret>", "=init passphrase \"pass\""),
])]
#[case::first_run_file(&[("absent; tick 1", "3<ret>", "=probe; init file \"\"")])]
#[case::first_run_ignores_keys_for_the_chat(&[
    ("tick 1", "typed ahead", ""),
    ("absent", "<ret>", "=probe|Where to keep the key"),
    ("made", "", "> typed ahead"),
])]
#[case::first_run_failure(&[
    ("absent; keyring; tick 1", "<ret>", ""),
    ("notmade", "2", "! no keyring answers|> 2 passphrase"),
    ("", "<C-c>", "=quit"),
])]
#[case::unlock(&[
    ("trying", "", "~locked"),
    ("locked", "sec", "=|The vault is locked|> ***|~sec"),
    ("", "ret<bs><ret>", "=unlock \"secre\"|Opening"),
    ("wrong", "x", "! that is not the passphrase|> *"),
    ("", "<ret>", "=unlock \"x\""),
    ("unlocked", "", "=restore|~locked"),
])]
#[case::daemon_lost_and_back(&[
    ("up", "one<ret>", ""),
    ("started; base Half; lost", "", "the daemon has stopped|broke off|daemon away"),
    ("connected; up", "", "~the daemon has stopped"),
])]
#[case::pasted_controls_are_gone(&[("up; paste a\u{1b}[31mb\u{7}c", "<ret>", "=restore; ask \"a[31mbc\" in 0")])]
#[case::alt_enter_is_a_line(&[("up", "a<A-ret>b<C-j>c<S-ret>d<ret>", "=restore; ask \"a\\nb\\nc\\nd\" in 0")])]
#[case::marks(&[
    ("up", "one<ret>", ""),
    ("started; changed  Rosa; done  Rosa", "", "^Rosa|^changed"),
    ("", "<f2>", "~^Rosa|marks are hidden"),
])]
fn flows(#[case] steps: &[(&str, &str, &str)]) {
    flow(steps);
}

/// A long answer: scrolled up, a new width and hidden marks keep what is read at the top.
#[test]
fn resize_keeps_the_place() {
    let mut bench = Bench::ready(Palette::Plain, (80, 24));
    bench.keys("count<ret>");
    bench.started(7);
    let long: String = (0..200).map(|i| format!("item{i:03} with some words behind it ")).collect();
    bench.tokens(&[(' ', &long)]);
    bench.done(&long, (1, 0, 0));
    bench.keys("<pgup><pgup>");
    let first = |bench: &Bench| bench.screen().lines().nth(1).unwrap().trim().to_owned();
    let place = |line: String| long.find(&line).unwrap();
    let before = place(first(&bench));
    for columns in [40, 133, 61, 80] {
        bench.send(Event::Resize(columns, 24));
        let now = place(first(&bench));
        assert!(now.abs_diff(before) <= 200, "{columns} columns: byte {now} instead of {before}");
    }
    bench.keys("<C-end>");
    assert!(bench.screen().contains("item199"));
}

#[test]
fn new_text_below_is_announced_and_does_not_move_the_view() {
    let mut bench = Bench::ready(Palette::Plain, (80, 24));
    bench.keys("count<ret>");
    bench.started(7);
    let long: String = (0..60).map(|i| format!("line {i}\n\n")).collect();
    bench.tokens(&[(' ', &long)]);
    bench.keys("<pgup>");
    let before = bench.screen().lines().nth(3).unwrap().to_owned();
    bench.tokens(&[(' ', "tail one\n\ntail two\n\n")]);
    assert_eq!(bench.screen().lines().nth(3).unwrap(), before);
    assert!(bench.screen().contains("new below"));
    bench.keys("<C-end>");
    assert!(bench.screen().contains("tail two"));
    assert!(!bench.screen().contains("below"));
}
