//! Each rule finds what breaks it, and nothing in what does not.

use super::*;

#[track_caller]
fn check(findings: Vec<String>, wanted: &[&str]) {
    assert_eq!(findings, wanted);
}

fn sources(files: &[(&str, &str)]) -> Vec<Source> {
    let read = files
        .iter()
        .filter_map(|(file, text)| Source::read(file, text).unwrap());
    read.collect()
}

/// What is wrong with one file's imports; which rights others leave unused is not asked.
#[track_caller]
fn imports(file: &str, text: &str, wanted: &[&str]) {
    let mut findings = imports::findings(&sources(&[(file, text)]));
    findings.retain(|finding| !finding.contains("does not use"));
    check(findings, wanted);
}

#[test]
fn imports_follow_the_table() {
    let index = "httpjail/src/policy/index.rs";
    imports(index, "use crate::net::Host;\nuse crate::policy::rule::Rule;", &[]);
    imports(
        index,
        "use std::fmt;\nuse crate::jail::Jail;",
        &["httpjail/src/policy/index.rs:2: `policy` may not import crate::jail::Jail"],
    );
    let proxy = "httpjail/src/proxy/server.rs";
    let breach = ["httpjail/src/proxy/server.rs:1: `proxy` may not import crate::jail::start"];
    imports(proxy, "fn f() { crate::jail::start() }", &breach);
    imports(proxy, "fn f() { write!(out, \"{}\", crate::jail::start) }", &breach);
    imports(proxy, "fn f() { super::super::jail::start() }", &breach);
    imports(
        "httpjail/src/jail/mod.rs",
        "use crate::{net::{Flow, Host as H}, audit::{record::Record, Sink}};",
        &["httpjail/src/jail/mod.rs:1: `jail` may not import crate::audit::Sink"],
    );
    imports(
        "httpjail/src/net/mod.rs",
        "// crate::cli is above\nfn f() { m!($crate::cli::x, other::cli::y) }",
        &[],
    );
    imports("httpjail/src/cli/run.rs", "use crate::{jail::Jail, proxy::Proxy};", &[]);
    imports(
        "httpjail/src/other.rs",
        "",
        &["httpjail/src/other.rs: `other` is not in the table of imports"],
    );
    imports("xtask/src/run.rs", "use crate::jail::Jail;", &[]);
}

#[test]
fn rights_that_nobody_uses_are_named() {
    let findings = imports::findings(&sources(&[("httpjail/src/policy/rule.rs", "use crate::net::Host;")]));
    assert!(!findings.contains(&"`policy` has a right to import `net` that it does not use".to_owned()));
    assert!(findings.contains(&"`tls` has a right to import `net` that it does not use".to_owned()));
}

#[track_caller]
fn circles(files: &[(&str, &str)], wanted: &[&str]) {
    check(circles::findings(&Graph::new(&sources(files))), wanted);
}

#[test]
fn circles_of_files_are_found() {
    let a = ("httpjail/src/dns/a.rs", "use super::b::B;");
    let b = "httpjail/src/dns/b.rs";
    circles(&[a, (b, "use crate::net::Host;")], &[]);
    let wanted = ["2 files import each other in a circle:\n  dns::a names dns::b\n  dns::b names dns::a"];
    circles(&[a, (b, "fn f() { super::a::f() }")], &wanted);
    circles(&[a, (b, "#[cfg(test)]\nfn f() { super::a::f() }")], &[]);
    circles(
        &[
            a,
            (b, "fn f() {}"),
            ("httpjail/src/dns/b/tests.rs", "use crate::dns::a::A;"),
        ],
        &[],
    );
}

#[test]
fn circles_of_modules_are_found() {
    let a = ("httpjail/src/dns/a.rs", "use crate::audit::b::B;");
    let b = ("httpjail/src/audit/b.rs", "pub struct B;");
    circles(&[a, b], &[]);
    let back = ("httpjail/src/audit/mod.rs", "pub use crate::dns::names::Names;");
    let names = ("httpjail/src/dns/names.rs", "pub struct Names;");
    circles(
        &[a, b, back, names],
        &["2 modules import each other in a circle:\n  audit names dns\n  dns names audit"],
    );
}

#[test]
fn a_reexport_is_an_import_only_where_it_is_used() {
    let a = ("httpjail/src/dns/a.rs", "use super::B;");
    let b = ("httpjail/src/dns/b.rs", "pub struct B;");
    circles(&[a, b, ("httpjail/src/dns/mod.rs", "mod a; mod b; pub use b::B;")], &[]);
    let own = ("httpjail/src/dns/mod.rs", "mod a; pub struct B; fn f() { a::f() }");
    circles(
        &[a, own],
        &["2 files import each other in a circle:\n  dns names dns::a\n  dns::a names dns"],
    );
    let used = ("httpjail/src/dns/mod.rs", "mod a; pub use a::A; pub struct B(A);");
    circles(
        &[a, used],
        &["2 files import each other in a circle:\n  dns names dns::a\n  dns::a names dns"],
    );
}

#[test]
fn floors_hold_in_one_direction() {
    let files = [
        ("httpjail/src/proxy/mod.rs", "pub use server::Proxy; pub struct Face;"),
        ("httpjail/src/proxy/server.rs", "use super::io::lines::Lines;"),
        ("httpjail/src/proxy/io/lines.rs", "use crate::proxy::server::Proxy;"),
        ("httpjail/src/proxy/other.rs", "use super::Face;"),
    ];
    let graph = Graph::new(&sources(&files));
    let table: [(&str, &[&str]); 3] = [("io", &[]), ("server", &["io"]), ("other", &["io"])];
    check(
        imports::floors_of(&graph, "proxy", &table),
        &[
            "proxy::io::lines may not import proxy::server: `io` stands below or beside `server`",
            "proxy::other imports the face of its own module",
            "`proxy::other` has a right to import `io` that it does not use",
        ],
    );
    check(
        imports::floors_of(&graph, "proxy", &table[..2]),
        &[
            "proxy::io::lines may not import proxy::server: `io` stands below or beside `server`",
            "`proxy::other` is not in the table of floors",
        ],
    );
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
