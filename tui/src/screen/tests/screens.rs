//! Every screen at three sizes, as text; what is drawn is the same in every palette, and provenance is checked with
//! its styles in each of them.

use aside_daemon_api::proto;
use rstest::rstest;

use super::{Bench, head, problem, status, styles};
use crate::screen::event::Event;
use crate::screen::theme::Palette;

const PALETTES: [(&str, Palette); 4] =
    [("dark", Palette::Dark), ("light", Palette::Light), ("16", Palette::Ansi), ("none", Palette::Plain)];

/// An answer with everything markdown has, and all three sources.
const ANSWER: [(char, &str); 22] = [
    (' ', "# A plan"),
    (' ', "\n\nGo to the "),
    ('s', "lake"),
    ('c', " with"),
    ('c', " Rosa"),
    (' ', ", then *rest* and **eat**.\n\n"),
    (' ', "- bread and `butter`\n- "),
    ('s', "green"),
    ('s', " tea"),
    (' ', "\n  1. hot\n  2. cold\n\n"),
    (' ', "> quoted words\n\n"),
    (' ', "```rust\nfn main() {\n\tlet x = 1;\n}\n```\n\n"),
    (' ', "See [the map](https://example.org/map).\n\n"),
    (' ', "| day | what |\n|---|---|\n| Sat | "),
    ('c', "swim"),
    (' ', " |\n| Sun | 日本語 |\n\n"),
    (' ', "Wide: 漢字 and "),
    ('c', "👩‍👩‍👧"),
    (' ', " end "),
    ('s', "\u{1b}[31mred"),
    (' ', "."),
    (' ', "\n"),
];

fn answer_text() -> String {
    ANSWER.iter().map(|(_, text)| *text).collect()
}

fn chat(palette: Palette, size: (u16, u16)) -> Bench {
    let mut bench = Bench::ready(palette, size);
    bench.keys("What shall I do on Saturday?<ret>");
    bench.started(7);
    bench.tokens(&ANSWER);
    bench.done(&answer_text(), (22, 9, 5));
    bench
}

fn scene(name: &str, palette: Palette, size: (u16, u16)) -> Bench {
    let mut bench = match name {
        "starting" => Bench::new(palette, size),
        "queued" => {
            let mut bench = Bench::new(palette, size);
            bench.keys("sent early<ret>and typing on");
            bench
        }
        "setup" | "setup-passphrase" => {
            let mut bench = Bench::new(palette, size);
            bench.send(Event::Connected);
            bench.send(Event::Status(status(proto::VaultState::Absent, proto::LinkState::Connecting)));
            bench.send(Event::Keyring(name == "setup"));
            bench
        }
        "locked" => {
            let mut bench = Bench::new(palette, size);
            bench.send(Event::Status(status(proto::VaultState::Locked, proto::LinkState::Connecting)));
            bench.keys("secret");
            bench
        }
        "welcome" => Bench::ready(palette, size),
        _ => chat(palette, size),
    };
    match name {
        "setup-passphrase" => {
            bench.tick(1.0);
            bench.keys("<ret>hunter2<ret>hunt");
        }
        "chat-top" => bench.keys("<C-home>"),
        "chat-hidden" => bench.keys("<C-t>"),
        "streaming-below" => {
            bench.keys("And then?<ret>");
            bench.started(7);
            bench.keys("<pgup>");
            bench.tokens(&[(' ', "One\n\n"), ('s', "two\n\n"), (' ', "three\n\nfour")]);
        }
        "help" => bench.keys("<f1>"),
        "slash" => bench.keys("/l"),
        "list" => {
            bench.keys("<C-l>");
            let heads = vec![
                head(7, "What shall I do on Saturday?", 2),
                head(3, "日本語の題名 and a long title that will not fit on a small screen at all", 12),
            ];
            bench.send(Event::Conversations(heads));
        }
        "error" => bench.send(Event::Failed(problem(
            "cloud-refused",
            "The cloud's key is not the pinned one.",
            "aside connect URI",
        ))),
        "notices" => {
            bench.keys("Again<ret>");
            bench.started(7);
            let notice = |code: &str, message: &str| {
                let (code, message) = (code.to_owned(), message.to_owned());
                proto::ask_event::Event::Notice(proto::AskNotice { code, message })
            };
            bench.send(Event::Answer(
                bench.number(),
                notice("context-cut", "The model no longer sees what is above this line."),
            ));
            bench.tokens(&[(' ', "Sure")]);
            bench.send(Event::Answer(
                bench.number(),
                notice("cloud-away", "The cloud went away; waiting for it."),
            ));
            let mut away = status(proto::VaultState::Open, proto::LinkState::Away);
            away.link_detail = "connection lost".to_owned();
            away.learning = proto::LearningState::Training.into();
            away.learning_progress = 0.42;
            bench.send(Event::Status(away));
        }
        "multiline" => bench.keys("first line<C-j>second line<A-ret>third 漢字 line"),
        _ => {}
    }
    bench
}

#[rstest]
fn screens(
    #[values(
        "starting",
        "queued",
        "setup",
        "setup-passphrase",
        "locked",
        "welcome",
        "chat",
        "chat-top",
        "chat-hidden",
        "streaming-below",
        "help",
        "slash",
        "list",
        "error",
        "notices",
        "multiline"
    )]
    name: &str,
    #[values((80, 24), (200, 50), (40, 12))] size: (u16, u16),
) {
    let screen = scene(name, Palette::Plain, size).screen();
    for (palette_name, palette) in PALETTES {
        assert_eq!(scene(name, palette, size).screen(), screen, "{palette_name} draws other text");
    }
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), screen);
    });
}

#[rstest]
#[case("dark", Palette::Dark)]
#[case("light", Palette::Light)]
#[case("16", Palette::Ansi)]
#[case("none", Palette::Plain)]
fn provenance_styles(#[case] name: &str, #[case] palette: Palette) {
    let buffer = scene("chat-top", palette, (80, 24)).buffer();
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!(format!("styles_{name}"), styles(&buffer));
    });
}

/// Whatever the size, nothing panics and everything stays in its columns.
#[rstest]
fn odd_sizes(#[values(1, 2, 3, 7, 19, 23, 24, 41)] columns: u16, #[values(1, 2, 3, 4, 6, 9)] rows: u16) {
    for name in
        ["starting", "setup", "setup-passphrase", "locked", "chat", "help", "list", "error", "multiline"]
    {
        let buffer = scene(name, Palette::Plain, (columns, rows)).buffer();
        assert_eq!((buffer.area.width, buffer.area.height), (columns, rows));
    }
}

#[test]
fn help_lists_every_command() {
    let mut bench = Bench::ready(Palette::Plain, (100, 80));
    bench.keys("<f1>");
    let screen = bench.screen();
    for command in crate::screen::commands::COMMANDS {
        assert!(screen.contains(command.what), "{:?} is not in the help", command.action);
        assert!(screen.contains(&command.keys()), "{} are not in the help", command.keys());
    }
}

#[test]
fn nothing_a_model_says_reaches_the_terminal_raw() {
    let buffer = scene("chat", Palette::Dark, (80, 24)).buffer();
    assert!(buffer.content.iter().all(|cell| !cell.symbol().contains(char::is_control)));
    assert!(super::text(&buffer).contains("␛[31mred"));
}
