//! What the command line says, word for word: cmd/*.trycmd. `TRYCMD=overwrite` writes down what it says now.

use std::process::Command;

use crate::support::binary;

#[test]
fn messages() {
    trycmd::TestCases::new()
        .register_bin("httpjail", binary())
        .case("../tests/cmd/*.trycmd");
}

fn httpjail(arguments: &[&str]) -> String {
    let outcome = Command::new(binary()).args(arguments).output().unwrap();
    assert!(outcome.status.success() && outcome.stderr.is_empty(), "{outcome:?}");
    String::from_utf8(outcome.stdout).unwrap()
}

/// tests/shells.rs drives those that have scripts of ours.
#[test]
fn other_shells_complete_options() {
    for shell in ["elvish", "powershell"] {
        assert!(httpjail(&["completions", shell]).contains("locked"), "{shell}");
    }
    let told = httpjail(&["completions", "bash", "--", "httpjail", "--sum"]);
    assert!(
        told.starts_with("words\n--summary\tPrint a summary of requests"),
        "{told}"
    );
}

#[test]
fn there_is_a_page_of_each_command() {
    assert!(httpjail(&["man"]).contains(".TH httpjail 1"));
    let page = httpjail(&["man", "learn"]);
    assert!(
        page.contains(".TH httpjail-learn 1") && page.contains("\\-\\-update"),
        "{page}"
    );
}
