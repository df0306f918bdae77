//! The command line as a whole: well formed, and its help as it should read.

use clap::{CommandFactory, Parser};

use super::Cli;

#[test]
fn the_definitions_are_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn help_reads_as_it_should() {
    let mut command = Cli::command().term_width(100);
    command.build();
    insta::assert_snapshot!("aside", command.render_long_help().to_string());
    for (name, inner) in
        [("ask", None), ("learn", None), ("init", None), ("adapter", Some("eval")), ("cloud", Some("serve"))]
    {
        let found = command.find_subcommand_mut(name).unwrap();
        let found =
            inner.map_or_else(|| found.clone(), |inner| found.find_subcommand(inner).unwrap().clone());
        let text = found.term_width(100).render_long_help().to_string();
        insta::assert_snapshot!(format!("{name}{}", inner.unwrap_or("")), text);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for bad in [
        &["learn"][..],
        &["init"],
        &["init", "--key", "memory"],
        &["ask", "--variant", "spb", "hi"],
        &["ask", "--temperature", "warm", "hi"],
        &["adapter"],
        &["adapter", "eval"],
        &["adapter", "rollback", "first"],
        &["connect"],
        &["cloud", "invite", "--ttl", "soon"],
        &["completions", "dos"],
        &["dance"],
    ] {
        let error = Cli::try_parse_from([&["aside"], bad].concat()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{bad:?}");
    }
}

#[test]
fn scripts_get_errors_as_events() {
    let json = |arguments: &[&str]| {
        Cli::try_parse_from([&["aside"], arguments].concat()).unwrap().command.is_some_and(|c| c.json())
    };
    for arguments in [
        &["ask", "--json", "hi"][..],
        &["learn", "--now", "--json"],
        &["adapter", "list", "--json"],
        &["adapter", "eval", "f", "--json"],
        &["stats", "--json"],
        &["daemon", "status", "--json"],
        &["cloud", "invite", "--json"],
    ] {
        assert!(json(arguments), "{arguments:?}");
    }
    assert!(!json(&["ask", "hi"]) && !json(&["daemon", "start"]) && !json(&[]));
}
