use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use super::*;
use crate::config::options::{Auth, Backend, DnsMode, LogFormat};

fn parse(line: &[&str]) -> Result<Run, clap::Error> {
    Cli::try_parse_from([&["httpjail"], line].concat()).map(|cli| cli.run)
}

#[test]
fn consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_person_is_asked_or_nobody_is_stopped() {
    let asking = parse(&["--interactive", "--", "c"]).expect("arguments");
    assert!(asking.interactive && !asking.shared.dry_run);
    for other in [
        &["--dry-run"][..],
        &["--log-only"],
        &["--approve-with", "p"],
        &["--locked", "f"],
    ] {
        assert!(
            parse(&[&["--interactive"], other, &["--", "c"]].concat()).is_err(),
            "{other:?}"
        );
    }
}

#[test]
fn everything_typed_arrives() {
    let run = parse(&[
        "-r",
        "allow: a",
        "--rule",
        "deny: b",
        "-c",
        "f.yaml",
        "--dry-run",
        "--no-tls-intercept",
        "--backend",
        "ebpf",
        "--dns",
        "off",
        "--upstream-ca",
        "a.pem",
        "--upstream-ca",
        "b.pem",
        "--ephemeral-ca",
        "--user",
        "u",
        "--timeout",
        "1.5",
        "--allow-socket",
        "/s",
        "--publish",
        "3000",
        "--log",
        "l",
        "--log-format",
        "json",
        "-q",
        "-vv",
        "--",
        "cmd",
        "-x",
        "--",
        "y",
    ])
    .expect("arguments");
    let shared = &run.shared;
    assert_eq!(shared.rules, ["allow: a", "deny: b"]);
    assert_eq!(shared.config, Some("f.yaml".into()));
    assert!(shared.dry_run && !run.interactive && shared.no_tls_intercept && shared.ephemeral_ca && shared.quiet);
    assert!(!shared.log_only && !run.weak);
    assert_eq!(
        (run.backend, run.dns, shared.log_format),
        (Some(Backend::Ebpf), Some(DnsMode::Off), Some(LogFormat::Json))
    );
    assert_eq!(shared.upstream_ca, [PathBuf::from("a.pem"), "b.pem".into()]);
    assert_eq!(run.user.as_deref(), Some("u"));
    assert_eq!(run.timeout, Some(Duration::from_millis(1500)));
    assert_eq!(
        (&run.allow_socket, &run.publish),
        (&vec![PathBuf::from("/s")], &vec!["3000".to_owned()])
    );
    assert_eq!((&shared.log, shared.verbose), (&Some("l".into()), 2));
    assert_eq!(run.command, ["cmd", "-x", "--", "y"]);
}

#[test]
fn the_command_keeps_its_arguments() {
    for (line, command) in [
        (&["--", "curl", "-v", "x"][..], &["curl", "-v", "x"][..]),
        (&["curl", "-v", "x"], &["curl", "-v", "x"]),
        (
            &["-q", "curl", "-r", "allow: a", "--help"],
            &["curl", "-r", "allow: a", "--help"],
        ),
        (&["--", "--version"], &["--version"]),
        (&["-", "x"], &["-", "x"]),
    ] {
        assert_eq!(parse(line).expect("arguments").command, command, "{line:?}");
    }
}

#[test]
fn subcommands_stand_first_and_commands_keep_their_names() {
    let other = |line: &[&str]| Cli::try_parse_from([&["httpjail"], line].concat()).map(|cli| cli.other);
    assert_eq!(other(&["doctor"]).expect("arguments"), Some(Other::Doctor));
    assert_eq!(other(&["ca", "show"]).expect("arguments"), Some(Other::Ca(Ca::Show)));
    assert_eq!(
        other(&["ca", "rotate"]).expect("arguments"),
        Some(Other::Ca(Ca::Rotate))
    );
    for line in [
        &["--", "ca", "show"][..],
        &["-r", "allow: a", "--", "ca", "show"],
        &["curl", "ca"],
        &["--", "doctor"],
        &["sh", "doctor"],
        &["-q", "doctor"],
    ] {
        assert_eq!(other(line).expect("arguments"), None, "{line:?}");
    }
    for line in [&["ca"][..], &["ca", "dance"], &["doctor", "curl"]] {
        assert!(other(line).is_err(), "{line:?}");
    }
}

#[test]
fn wrong_lines() {
    for (line, kind) in [
        (&[][..], ErrorKind::MissingRequiredArgument),
        (&["-r", "allow: a"], ErrorKind::MissingRequiredArgument),
        (&["-r"], ErrorKind::InvalidValue),
        (&["--rules", "x", "--", "c"], ErrorKind::UnknownArgument),
        (&["--backend", "magic", "--", "c"], ErrorKind::InvalidValue),
        (&["--dns", "on", "--", "c"], ErrorKind::InvalidValue),
        (&["--log-format", "xml", "--", "c"], ErrorKind::InvalidValue),
        (&["--dry-run", "--log-only", "--", "c"], ErrorKind::ArgumentConflict),
        (&["--weak", "--backend", "ebpf", "--", "c"], ErrorKind::ArgumentConflict),
        (&["--timeout", "0", "--", "c"], ErrorKind::ValueValidation),
        (&["--timeout", "-1", "--", "c"], ErrorKind::UnknownArgument),
        (&["--timeout", "inf", "--", "c"], ErrorKind::ValueValidation),
        (&["--timeout", "1e9", "--", "c"], ErrorKind::ValueValidation),
        (&["--timeout", "1.2.3", "--", "c"], ErrorKind::ValueValidation),
        (&["--timeout", ".", "--", "c"], ErrorKind::ValueValidation),
        (&["--timeout", "0.0000000001", "--", "c"], ErrorKind::ValueValidation),
        (
            &["--timeout", "99999999999999999999999999", "--", "c"],
            ErrorKind::ValueValidation,
        ),
        (
            &["--timeout", "1", "--timeout", "2", "--", "c"],
            ErrorKind::ArgumentConflict,
        ),
    ] {
        let error = parse(line).expect_err(&line.join(" "));
        assert_eq!((error.kind(), error.exit_code()), (kind, 2), "{line:?}");
    }
    for line in [["--help"], ["-h"], ["-V"]] {
        assert_eq!(parse(&line).expect_err("a page").exit_code(), 0);
    }
}

#[test]
fn serving() {
    let serve = |line: &[&str]| {
        let words = [&["httpjail"], line].concat().into_iter().map(OsString::from);
        match Cli::try_parse_from(rewrite::read(words)).expect("arguments").other {
            Some(Other::Serve(serve)) => serve,
            _ => panic!("{line:?} runs a command"),
        }
    };
    let plain = serve(&["serve"]);
    assert_eq!((plain.listen, plain.auth), (None, None));
    let full = serve(&[
        "--server", "--listen", "[::1]:9", "--auth", "none", "-r", "allow: a", "-q",
    ]);
    assert_eq!((full.listen, full.auth), ("[::1]:9".parse().ok(), Some(Auth::None)));
    assert!(full.shared.rules == ["allow: a"] && full.shared.quiet);
    for line in [&["--", "serve"][..], &["--", "--server"], &["curl", "--server"]] {
        let words = [&["httpjail"], line].concat().into_iter().map(OsString::from);
        let cli = Cli::try_parse_from(rewrite::read(words)).expect("arguments");
        assert!(cli.other.is_none() && !cli.run.command.is_empty(), "{line:?}");
    }
    for line in [
        &["serve", "--weak"][..],
        &["serve", "curl"],
        &["serve", "--listen", "8080"],
        &["serve", "--auth", "x"],
    ] {
        let line = [&["httpjail"], line].concat();
        assert_eq!(
            Cli::try_parse_from(&line).expect_err("a wrong line").exit_code(),
            2,
            "{line:?}"
        );
    }
}

#[test]
fn help_names_every_option() {
    let help = Cli::command().render_long_help().to_string();
    for argument in Cli::command().get_arguments().filter_map(clap::Arg::get_long) {
        assert!(help.contains(&format!("--{argument}")), "{argument}");
    }
    assert!(help.contains("Usage: httpjail [OPTIONS] -- COMMAND [ARGS]"), "{help}");
    assert!(help.contains("Exit status:"));
}

#[test]
fn attaching_needs_a_cgroup_and_takes_the_options_of_a_run() {
    let other = |line: &[&str]| Cli::try_parse_from([&["httpjail"], line].concat()).map(|cli| cli.other);
    match other(&["attach", "--cgroup", "/c", "-r", "allow: a", "-q"]) {
        Ok(Some(Other::Attach(attach))) => {
            assert_eq!(
                (attach.place.cgroup, attach.shared.rules),
                (Some("/c".into()), vec!["allow: a".to_owned()])
            );
            assert!(attach.shared.quiet);
        }
        parsed => panic!("{parsed:?}"),
    }
    match other(&["detach", "--all"]) {
        Ok(Some(Other::Detach(detach))) => assert!(detach.all && detach.cgroup.is_none()),
        parsed => panic!("{parsed:?}"),
    }
    for line in [
        &["attach", "-r", "allow: a"][..],
        &["attach", "--cgroup", "/c", "--timeout", "1"],
        &["attach", "--cgroup", "/c", "true"],
        &["detach"],
        &["detach", "--all", "--cgroup", "/c"],
        &["attach", "--cgroup", "/c", "--unit", "u"],
        &["attach", "--pid", "0"],
        &["attach", "--pid", "-1"],
        &["detach", "--unit", "u", "--container", "c"],
    ] {
        assert_eq!(other(line).expect_err(&line.join(" ")).exit_code(), 2, "{line:?}");
    }
    // After `--` it is a command.
    assert_eq!(parse(&["--", "attach"]).expect("arguments").command, ["attach"]);
}
