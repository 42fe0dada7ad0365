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

#[test]
fn shells_complete_options() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(httpjail(&["completions", shell]).contains("locked"), "{shell}");
    }
    let asked =
        "COMP_WORDS=(httpjail --sum); COMP_CWORD=1; _httpjail httpjail --sum httpjail; echo \"${COMPREPLY[@]}\"";
    let script = httpjail(&["completions", "bash"]) + asked;
    let told = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&told.stdout), "--summary\n", "{told:?}");
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
