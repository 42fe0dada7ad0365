use clap::CommandFactory as _;

use super::*;
use crate::cli::args::Cli;

fn offer(divided: bool, line: &str) -> Offer {
    let words = line.split(' ').map(str::to_owned).collect();
    let programs = |start: &str| {
        let all = ["cat", "curl", "git"];
        all.iter()
            .filter(|name| name.starts_with(start))
            .map(|name| (*name).to_owned())
            .collect()
    };
    Typed::new(words, divided).offer(&Cli::command(), &programs)
}

/// Of a line that ends where the cursor is: the words that are offered.
#[track_caller]
fn check(line: &str, expected: &[&str]) {
    for divided in [false, true] {
        let Offer::Words(words) = offer(divided, line) else {
            panic!("no words for {line}");
        };
        let words: Vec<&str> = words.iter().map(|(word, _)| word.as_str()).collect();
        assert_eq!(words, expected, "{line}");
    }
}

#[track_caller]
fn check_other(line: &str, expected: &Offer) {
    assert_eq!(&offer(false, line), expected, "{line}");
}

#[test]
fn the_first_word_is_a_command_of_ours_or_a_program() {
    check("httpjail le", &["learn"]);
    check("httpjail c", &["check", "ca", "completions", "cat", "curl"]);
    check("httpjail cur", &["curl"]);
    check("httpjail -r x c", &["cat", "curl"]);
    check("httpjail -r x -- gi", &["git"]);
    check("httpjail -- le", &[]);
    check("httpjail learn gi", &["git"]);
    check("httpjail learn -- gi", &["git"]);
    let Offer::Words(all) = offer(false, "httpjail ") else {
        panic!()
    };
    let names: Vec<&str> = all.iter().map(|(word, _)| word.as_str()).collect();
    assert!(
        names.contains(&"learn") && names.contains(&"doctor") && !names.contains(&"git"),
        "{names:?}"
    );
    assert!(all.iter().all(|(_, about)| !about.is_empty()), "{all:?}");
}

#[test]
fn a_command_of_ours_has_words_of_its_own() {
    check("httpjail ca ", &["show", "path", "install", "remove", "rotate"]);
    check("httpjail ca show ", &[]);
    check("httpjail completions z", &["zsh"]);
    check("httpjail man le", &["learn"]);
    check("httpjail check -c x PO", &["POST"]);
    check("httpjail serve --au", &["--auth"]);
    check("httpjail --server --auth t", &["token"]);
    check("httpjail detach --a", &["--all"]);
    check_other("httpjail report ", &Offer::Files);
}

#[test]
fn options_have_values() {
    check("httpjail --backend ", &["auto", "ebpf", "netns", "weak"]);
    check("httpjail --dns r", &["relay"]);
    check("httpjail --log-", &["--log-only", "--log-format"]);
    check("httpjail learn --backend n", &["netns"]);
    check("httpjail -q --backend w", &["weak"]);
    // Its value comes only behind `=`.
    check("httpjail --summary gi", &["git"]);
    check("httpjail --timeout ", &[]);
    for line in [
        "httpjail --log ",
        "httpjail -c ",
        "httpjail -qc ",
        "httpjail --log=/tm",
        "httpjail -r x ./",
    ] {
        check_other(line, &Offer::Files);
    }
}

#[test]
fn what_follows_the_command_is_its_own() {
    check_other("httpjail curl -", &Offer::OfCommand(1));
    check_other("httpjail curl -- ", &Offer::OfCommand(1));
    check_other("httpjail -r x --backend netns -- git ch", &Offer::OfCommand(6));
    check_other("httpjail learn -- git --", &Offer::OfCommand(3));
    check_other("httpjail -- -x ", &Offer::OfCommand(2));
}

#[test]
fn a_shell_may_divide_words() {
    let words = |line: &str| match offer(true, line) {
        Offer::Words(words) => words.into_iter().map(|(word, _)| word).collect(),
        other => vec![format!("{other:?}")],
    };
    assert_eq!(words("httpjail --backend = e"), ["ebpf"]);
    assert_eq!(words("httpjail --summary ="), ["table", "json", "github"]);
    assert_eq!(words("httpjail --publish 127.0.0.1 : 80 gi"), ["git"]);
    assert_eq!(words("httpjail --publish 127.0.0.1 : 80 git "), ["OfCommand(5)"]);
    let Offer::Words(undivided) = offer(false, "httpjail --backend=e") else {
        panic!()
    };
    assert_eq!(undivided[0].0, "--backend=ebpf");
}
