//! Claims are read where tests make them, and what is missing is named.

use super::*;

const WAYS_TEXT: &str = r#"
const EXCEPTIONS: [(&str, &[Way], &str); 2] = [
    (
        "log::an_allowed_request",
        &[Way::Netns, Way::Rootless],
        "there is (no) cgroup",
    ),
    ("identity::root*", &[Way::Rootless], "nobody is root"),
];

table! { escapes log identity }
"#;

const MODEL_TEXT: &str = "\
# Model
- **ebpf**: a list of something else
### S01: sockets
Prose.

- ebpf, netns, rootless: descriptors
  are closed
- attach: it is said. Untested: no reason.
- weak: not promised
";

fn claims(path: &str, text: &str) -> (Vec<(String, String, String)>, Vec<String>) {
    let (proofs, findings) = proofs::read(path, text, &proofs::Ways::read(WAYS_TEXT));
    let shown = |proof: &proofs::Proof| {
        let held: Vec<&str> = proof.backends.iter().map(|backend| backend.name()).collect();
        (proof.id.clone(), proof.test.clone(), held.join(" "))
    };
    (proofs.iter().map(shown).collect(), findings)
}

#[track_caller]
fn check_claim(path: &str, text: &str, id: &str, test: &str, held: &str) {
    let (found, findings) = claims(path, text);
    assert_eq!(found, [(id.to_owned(), test.to_owned(), held.to_owned())]);
    assert_eq!(findings, Vec::<String>::new());
}

#[test]
fn a_claim_speaks_for_the_backends_of_its_place() {
    let plain = concat!("// Pro", "ves: S01.\n#[test]\nfn a_name() {");
    check_claim(
        "tests/escapes.rs",
        plain,
        "S01",
        "escapes::a_name",
        "ebpf netns rootless",
    );
    check_claim("tests/attach.rs", plain, "S01", "attach::a_name", "attach");
    let unit = concat!(
        "    // Pro",
        "ves: T01.\n    /// Why.\n    #[tokio::test]\n    async fn b() {"
    );
    check_claim(
        "httpjail/src/jail/steering/ebpf/tests/refused.rs",
        unit,
        "T01",
        "jail::steering::ebpf::tests::refused::b",
        "ebpf attach",
    );
    check_claim(
        "httpjail/src/tls/leaf.rs",
        unit,
        "T01",
        "tls::leaf::b",
        "ebpf netns rootless attach weak",
    );
    let named = concat!("// Pro", "ves on netns, weak: H01.\n#[test]\nfn c() {");
    check_claim("tests/differential.rs", named, "H01", "differential::c", "netns weak");
    let excepted = concat!("// Pro", "ves: K01.\n#[test]\nfn an_allowed_request() {");
    check_claim("tests/log.rs", excepted, "K01", "log::an_allowed_request", "ebpf");
    let excepted = concat!("// Pro", "ves: K01.\n#[test]\nfn root_stays() {");
    check_claim(
        "tests/identity.rs",
        excepted,
        "K01",
        "identity::root_stays",
        "ebpf netns",
    );
}

#[test]
fn a_claim_of_nothing_is_named() {
    let findings = |path: &str, text: &str| claims(path, text).1;
    let gone = concat!("// Pro", "ves: S01.\nfn helper() {");
    assert_eq!(
        findings("tests/escapes.rs", gone),
        ["tests/escapes.rs:1: no test stands below this claim"]
    );
    let unknown = concat!("// Pro", "ves: X01.\n#[test]\nfn a() {");
    assert_eq!(
        findings("tests/escapes.rs", unknown),
        ["tests/escapes.rs:1: `X01` is no class"]
    );
    let nowhere = concat!("// Pro", "ves: S01.\n#[test]\nfn a() {");
    assert_eq!(
        findings("tests/differential.rs", nowhere),
        ["tests/differential.rs:1: this file does not tell the backends: `Proves on ...:`"]
    );
    let backends = concat!("// Pro", "ves on ebfp: S01.\n#[test]\nfn a() {");
    assert_eq!(
        findings("tests/escapes.rs", backends),
        ["tests/escapes.rs:1: no backends"]
    );
}

#[test]
fn a_class_speaks_of_each_backend_once() {
    let (classes, findings) = model::read(MODEL_TEXT);
    assert_eq!(findings, Vec::<String>::new());
    let [class] = &classes[..] else { panic!("{classes:?}") };
    assert_eq!((class.id.as_str(), class.title.as_str()), ("S01", "sockets"));
    assert_eq!(class.items[0].stopper, "descriptors are closed");
    assert_eq!(class.items[1].untested.as_deref(), Some("no reason."));
    assert!(!class.items[2].is_promised());

    let (_, findings) = model::read("### S01: a\n- ebpf: b\n- ebpf, netns, rootless, attach: c\n");
    let wanted = ["S01 speaks of ebpf 2 times", "S01 speaks of weak 0 times"];
    assert_eq!(findings, wanted.map(|what| format!("{MODEL}: {what}")));
    let (_, findings) = model::read("### S1: a\n### S01: a\n- all: b\n### S01: c\n");
    assert_eq!(findings.len(), 2, "{findings:?}");
}

/// The whole, from a repository of four files.
fn repository(test: &str, page: &str) -> Vec<(String, String)> {
    let page = format!("# Page\n{BEGIN}\n{page}{END}\nrest\n");
    let files = [
        (MODEL, MODEL_TEXT),
        (WAYS, WAYS_TEXT),
        (PAGE, &page),
        ("tests/escapes.rs", test),
    ];
    files.map(|(path, text)| (path.to_owned(), text.to_owned())).into()
}

#[test]
fn a_stale_table_and_a_promise_without_a_test_are_found() {
    let test = concat!("// Pro", "ves: S01.\n#[test]\nfn a() {\n");
    let (page, findings) = written(&repository(test, "old")).unwrap();
    assert_eq!(findings, Vec::<String>::new());
    assert!(page.contains("| S01 sockets | ebpf, netns, rootless | descriptors are closed | `escapes::a` |\n"));
    assert!(page.contains("| S01 sockets | attach | it is said | untested: no reason. |\n"));
    assert!(page.contains("1 classes: 0 with a test on every backend that promises them, 1 on some of these, 0"));
    assert!(page.contains("5 pairs of class and backend: 3 tested, 1 promised and untested, 1 not promised. 1 tests."));
    assert!(page.ends_with(&format!("{END}\nrest\n")));

    let stale = check(&repository(test, "old")).unwrap();
    assert!(
        stale[0].starts_with("SECURITY.md: the table of threats is not that of the tests"),
        "{stale:?}"
    );
    let inner = page.split_once(BEGIN).unwrap().1.split_once(END).unwrap().0;
    assert_eq!(
        check(&repository(test, inner.trim_start())).unwrap(),
        Vec::<String>::new()
    );

    let without = check(&repository("fn a() {}", "old")).unwrap();
    let bare = "docs/threat-model.md: S01 has neither a test nor a reason why not on ebpf, netns, rootless";
    assert!(without.iter().any(|found| found == bare), "{without:?}");
    let unknown = check(&repository("// as S02 says", "old")).unwrap();
    let named = "tests/escapes.rs:1: docs/threat-model.md has no S02";
    assert!(unknown.iter().any(|found| found == named), "{unknown:?}");
    let attached = concat!("// Pro", "ves on attach: S01.\n#[test]\nfn b() {\n");
    let no_longer = check(&repository(&format!("{test}{attached}"), "old")).unwrap();
    let said = "docs/threat-model.md: S01 is tested on attach, and said not to be";
    assert!(no_longer.iter().any(|found| found == said), "{no_longer:?}");
}
