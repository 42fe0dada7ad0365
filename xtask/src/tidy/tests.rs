//! Each rule finds what breaks it, and nothing in what does not.

use super::*;

#[track_caller]
fn check(findings: Vec<String>, wanted: &[&str]) {
    assert_eq!(findings, wanted);
}

#[test]
fn imports_follow_the_table() {
    check(
        imports(
            "httpjail/src/policy/index.rs",
            "use crate::net::Host;\nuse crate::policy::rule::Rule;",
        ),
        &[],
    );
    check(
        imports("httpjail/src/policy/index.rs", "use std::fmt;\nuse crate::jail::Jail;"),
        &["httpjail/src/policy/index.rs:2: `policy` may not import crate::jail::Jail"],
    );
    check(
        imports("httpjail/src/proxy/mod.rs", "fn f() { crate::jail::start() }"),
        &["httpjail/src/proxy/mod.rs:1: `proxy` may not import crate::jail::start"],
    );
    check(
        imports("httpjail/src/jail/mod.rs", "use crate::audit::record::Record;"),
        &[],
    );
    check(
        imports(
            "httpjail/src/jail/mod.rs",
            "use crate::{net::{Flow, Host as H}, audit::{record::Record, Sink}};",
        ),
        &["httpjail/src/jail/mod.rs:1: `jail` may not import crate::audit::Sink"],
    );
    check(
        imports(
            "httpjail/src/net/mod.rs",
            "// crate::cli is above\nlet a = $crate::cli::x;",
        ),
        &[],
    );
    check(
        imports("httpjail/src/cli/run.rs", "use crate::{jail::Jail, proxy::Proxy};"),
        &[],
    );
    check(
        imports("httpjail/src/other.rs", ""),
        &["httpjail/src/other.rs: `other` is not in the table of imports"],
    );
    check(imports("xtask/src/run.rs", "use crate::jail::Jail;"), &[]);
}

#[test]
fn unsafe_code_stays_at_home() {
    let block = concat!("let a = unsafe", " { f() };");
    check(unsafe_code("httpjail/src/sys/mount.rs", block), &[]);
    check(unsafe_code("httpjail-ebpf/src/main.rs", block), &[]);
    check(
        unsafe_code("httpjail/src/jail/mod.rs", block),
        &["httpjail/src/jail/mod.rs:1: unsafe code outside httpjail/src/sys"],
    );
    check(
        unsafe_code("tests/main.rs", concat!("#![allow(unsafe", "_code)]")),
        &["tests/main.rs:1: unsafe code outside httpjail/src/sys"],
    );
    check(
        unsafe_code("httpjail-common/src/lib.rs", concat!("unsafe", " impl Pod for Flow {}")),
        &[],
    );
    check(
        unsafe_code("httpjail/src/net/mod.rs", concat!("// never unsafe", " { }")),
        &[],
    );
}

#[test]
fn long_files_are_named() {
    let long = "line\n".repeat(LONG + 1);
    assert!(length("httpjail/src/net/mod.rs", &long).is_some());
    assert!(length("httpjail/src/net/tests.rs", &long).is_none());
    assert!(length("httpjail/src/net/mod.rs", "line\n").is_none());
}

#[test]
fn dependencies_have_reasons() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\nanyhow = \"1\"\nown = { path = \"../own\" }\n";
    check(dependencies("Cargo.toml", manifest, "| `anyhow` | errors |"), &[]);
    check(
        dependencies("Cargo.toml", manifest, "| `bytes` | bytes |"),
        &["Cargo.toml: CONTRIBUTING.md has no reason for `anyhow`"],
    );
    check(
        dependencies("Cargo.toml", "[target.'cfg(unix)'.dependencies]\nnix = \"1\"", ""),
        &["Cargo.toml: CONTRIBUTING.md has no reason for `nix`"],
    );
}

#[test]
fn nothing_is_left_lying_about() {
    check(
        leftovers("a.rs", concat!("fn a() {}\n// TO", "DO: more")),
        &[concat!("a.rs:2: TO", "DO is left")],
    );
    check(
        leftovers("a.md", concat!("see /wo", "rk/x")),
        &[concat!("a.md:1: /wo", "rk/ is left")],
    );
    check(leftovers("a.rs", "let todos = 1;"), &[]);
}

#[test]
fn pages_that_are_named_are_there() {
    let files = ["README.md", "docs/threat-model.md"].map(|path| (path.to_owned(), String::new()));
    check(
        pages(
            "a.rs",
            "see README.md, (docs/threat-model.md) ../README.md a.md",
            &files,
        ),
        &[],
    );
    check(
        pages(
            "a.rs",
            concat!("first\nsee OTHER", ".md.", " and threat-model.md"),
            &files,
        ),
        &[concat!("a.rs:2: OTHER", ".md is not in the repository")],
    );
}
