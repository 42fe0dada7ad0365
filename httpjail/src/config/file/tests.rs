mod groups;
mod schema;

use crate::audit::SummaryForm;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Overrides;
use crate::config::options::*;
use crate::policy::Policy;

fn read(text: &str) -> File {
    parse("rules.yaml", text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn rules(file: &File) -> Vec<String> {
    file.rules.iter().map(ToString::to_string).collect()
}

fn messages(file: &File) -> Vec<&str> {
    file.warnings.iter().map(|warning| warning.message.as_str()).collect()
}

const README: &str = r#"# rules.yaml
rules:
  - action: allow
    pattern: "github\.com"
    methods:
  - action: allow
    pattern: "api\..*\.com"
    methods:
  - action: deny
    pattern: "telemetry"
  - action: deny
    pattern: ".*"
logging:
  level: info
  file: /var/log/httpjail.log
"#;

#[test]
fn the_file_of_the_readme_means_what_its_author_meant() {
    for text in [
        README.to_owned(),
        README.replace('\n', "\r\n"),
        format!("\u{feff}{README}"),
    ] {
        let file = read(&text);
        assert_eq!(
            rules(&file),
            [
                r"allow: github\.com",
                r"allow: api\..*\.com",
                "deny: telemetry",
                "deny: .*"
            ]
        );
        assert_eq!(file.logging.level, Some(Level::Info));
        assert_eq!(file.logging.file.as_deref(), Some("/var/log/httpjail.log"));
        let sources: Vec<String> = file.rules.iter().map(|rule| rule.source().to_string()).collect();
        assert_eq!(
            sources,
            ["rules.yaml:3", "rules.yaml:6", "rules.yaml:9", "rules.yaml:11"]
        );
        assert_eq!(
            messages(&file),
            [
                r#"rules.yaml:4: "github\.com" is read as 'github\.com'"#,
                r#"rules.yaml:7: "api\..*\.com" is read as 'api\..*\.com'"#,
                r"rule `allow: github\.com` (rules.yaml:3): `methods:` is left empty, which means every method",
                r"rule `allow: api\..*\.com` (rules.yaml:6): `methods:` is left empty, which means every method",
            ]
        );
        assert!(
            file.warnings[0]
                .hint
                .as_deref()
                .is_some_and(|hint| hint.ends_with(r"write pattern: 'github\.com'"))
        );
    }
}

#[test]
fn single_quotes_give_no_warning() {
    let file =
        read("rules:\n- action: allow\n  pattern: '^https://github\\.com/'\n  methods: [get, HEAD]\n  name: code\n");
    assert_eq!(rules(&file), [r"allow-get-head: ^https://github\.com/"]);
    assert_eq!(file.rules[0].name(), Some("code"));
    assert_eq!(messages(&file), [""; 0]);
}

#[test]
fn a_file_of_the_readme_that_lost_its_indentation_is_an_error() {
    let flat: String = README.lines().map(|line| format!("{}\n", line.trim_start())).collect();
    let error = parse("rules.yaml", &flat).expect_err("no YAML");
    assert!(error.line > 1, "{error}");
}

// Proves: H06.
#[test]
fn empty_files_are_policies_without_rules() {
    for text in [
        "",
        "\n",
        "# nothing\n",
        "---\n",
        "rules:\n",
        "rules: []\n",
        "\u{feff}",
        "{}",
        "null",
    ] {
        let file = read(text);
        assert_eq!((file.rules.len(), file.options), (0, Overrides::default()), "{text:?}");
    }
}

#[test]
fn places() {
    let file = read(
        "rules:\n- {action: allow, host: API.example.com, path: /v1/*, methods: get}\n- {action: Deny, host: '*.example.com:8443'}\n",
    );
    assert_eq!(
        rules(&file),
        [
            "allow-get: host api.example.com path /v1/*",
            "deny: host *.example.com:8443"
        ]
    );
    assert_eq!(file.rules[1].source().to_string(), "rules.yaml:3");
}

#[test]
fn every_option() {
    let file = read(
        "dry-run: true\nlog-only: false\nno-tls-intercept: true\nweak: false\ninteractive: false\napprove-with: ask\napprove-timeout: 5\nephemeral-ca: true\ndns: off\n\
         backend: ebpf\nuser: nobody\ntimeout: 1.5\nlog: a.log\nlog-format: json\npublish: 3000\nallow-socket: /a\nupstream-ca:\n  - b\n  - c\n\
         quiet: true\nsummary: github\nverbose: 2\nlisten: '[::1]:9'\nauth: none\nupstream-network: host\ninbound: 10.0.0.1:80\nlabel: team=a\nversion: 1\n",
    );
    let expected = Overrides {
        name: None,
        labels: vec!["team=a".into()],
        dry_run: Some(true),
        log_only: Some(false),
        no_tls_intercept: Some(true),
        weak: Some(false),
        interactive: Some(false),
        approve_with: Some("ask".into()),
        approve_timeout: Some(Duration::from_secs(5)),
        ephemeral_ca: Some(true),
        dns: Some(DnsMode::Off),
        backend: Some(Backend::Ebpf),
        user: Some("nobody".into()),
        timeout: Some(Duration::from_millis(1500)),
        log: Some("a.log".into()),
        log_format: Some(LogFormat::Json),
        publish: vec!["3000".into()],
        allow_socket: vec!["/a".into()],
        upstream_ca: vec!["b".into(), "c".into()],
        quiet: Some(true),
        summary: Some(SummaryForm::Github),
        verbose: Some(2),
        level: None,
        listen: "[::1]:9".parse().ok(),
        auth: Some(Auth::None),
        inbound: vec!["10.0.0.1:80".into()],
        upstream_network: Some(UpstreamNetwork::Host),
    };
    assert_eq!(file.options, expected);
    for (text, seconds) in [("30", 30.0), ("'2.5'", 2.5), ("0.25", 0.25)] {
        let timeout = read(&format!("timeout: {text}\n")).options.timeout;
        assert_eq!(timeout, Some(Duration::from_secs_f64(seconds)), "{text}");
    }
}

/// Where the error is, and what its message and its hint contain.
#[track_caller]
fn wrong(text: &str, place: (usize, usize), message: &str, hint: &str) {
    let error = parse("r.yaml", text).expect_err(text);
    assert_eq!((error.line, error.column), place, "{text:?}: {error}");
    assert!(error.message.contains(message), "{text:?}: {error}");
    assert!(
        error.hint.as_deref().unwrap_or_default().contains(hint),
        "{text:?}: {:?}",
        error.hint
    );
    assert!(
        error
            .to_string()
            .starts_with(&format!("r.yaml:{}:{}: ", place.0, place.1))
    );
    assert!(
        !error
            .message
            .contains(&format!(" at line {} column {}", place.0, place.1)),
        "{error}"
    );
}

#[test]
fn unknown_keys() {
    wrong("rule: x\n", (1, 1), "unknown key `rule`", "did you mean `rules`?");
    wrong(
        "\nDry-Run: true\n",
        (2, 1),
        "unknown key `Dry-Run`",
        "did you mean `dry-run`?",
    );
    wrong(
        "dry_run: true\n",
        (1, 1),
        "unknown key `dry_run`",
        "did you mean `dry-run`?",
    );
    wrong(
        "zzz: 1\n",
        (1, 1),
        "unknown key `zzz`",
        "known here: version, rules, use, groups",
    );
    wrong(
        "rules:\n- action: allow\n  patern: x\n",
        (3, 3),
        "rules[0]: unknown key `patern`",
        "did you mean `pattern`?",
    );
    wrong(
        "rules:\n- action: allow\n  pattern: x\n  method: get\n",
        (4, 3),
        "unknown key `method`",
        "did you mean `methods`?",
    );
    wrong("rules:\n- allow: x\n", (2, 3), "unknown key `allow`", "");
    wrong(
        "logging:\n  levle: info\n",
        (2, 3),
        "logging: unknown key `levle`",
        "did you mean `level`?",
    );
}

#[test]
fn wrong_types_and_values() {
    wrong("rules: 1\n", (1, 8), "rules: invalid type", "");
    wrong("rules: x\n", (1, 8), "rules: invalid type", "");
    wrong("rules:\n  a: b\n", (2, 3), "rules: invalid type", "");
    wrong("rules:\n- x\n", (2, 3), "rules[0]: invalid rule `x`", "write a rule as");
    wrong(
        "rules:\n- 'allow: x'\n",
        (2, 3),
        "invalid rule `allow: x`",
        "write - {action: allow, pattern: 'x'}",
    );
    wrong("rules:\n- [x]\n", (2, 3), "rules[0]: invalid type", "");
    wrong("x\n", (1, 1), "expected keys such as `rules:`", "");
    wrong("- x\n", (1, 1), "invalid", "");
    wrong("dry-run: maybe\n", (1, 10), "dry-run: invalid type", "");
    wrong("dry-run: 1\n", (1, 10), "dry-run: invalid type", "");
    wrong("timeout: 0\n", (1, 10), "expected a positive number", "");
    wrong("timeout: -5\n", (1, 10), "", "");
    wrong("timeout: soon\n", (1, 10), "expected a positive number", "");
    wrong("timeout: .inf\n", (1, 10), "expected a positive number", "");
    wrong("timeout: 99999999999999\n", (1, 10), "too many", "");
    wrong("timeout: [1]\n", (1, 10), "expected a positive number", "");
    wrong(
        "dns: maybe\n",
        (1, 6),
        "expected one of synthetic, relay, open, off",
        "",
    );
    wrong("backend: x\n", (1, 10), "expected one of auto, ebpf, netns, weak", "");
    wrong("log-format: xml\n", (1, 13), "expected one of text, json", "");
    wrong(
        "logging:\n  level: loud\n",
        (2, 10),
        "expected one of off, error, warn, info, debug, trace",
        "",
    );
    wrong("logging: x\n", (1, 10), "expected keys such as `level:`", "");
    wrong("publish: {a: b}\n", (1, 10), "expected a text or a list of texts", "");
    wrong("allow-socket: [[a]]\n", (1, 16), "invalid type", "");
    wrong("user: [a]\n", (1, 7), "user: invalid type", "");
    wrong("version: 2\n", (1, 10), "files of version 1, and this one says 2", "");
    wrong("version: '1'\n", (1, 10), "expected 1", "");
    wrong("verbose: -1\n", (1, 10), "verbose: invalid", "");
    wrong(
        "listen: 8080\n",
        (1, 9),
        "invalid address `8080`: expected an address and a port",
        "127.0.0.1:8080",
    );
    wrong(
        "listen: ok.test:80\n",
        (1, 9),
        "expected an address and a port",
        "127.0.0.1:8080",
    );
    wrong("auth: basic\n", (1, 7), "expected one of token, none", "");
}

#[test]
fn wrong_rules() {
    wrong(
        "rules:\n- pattern: x\n",
        (2, 3),
        "missing field `action`",
        "action: allow",
    );
    wrong(
        "rules:\n- action: allow\n",
        (2, 3),
        "needs a `pattern:` or a `host:`",
        "'.*'",
    );
    wrong(
        "rules:\n- action: allow\n  pattern:\n",
        (2, 3),
        "needs a `pattern:`",
        "'.*'",
    );
    wrong(
        "rules:\n- action: permit\n  pattern: x\n",
        (2, 11),
        "invalid action `permit`",
        "",
    );
    wrong(
        "rules:\n- action: allow-get\n  pattern: x\n",
        (2, 11),
        "invalid action `allow-get`",
        "`methods: [get]`",
    );
    wrong(
        "rules:\n- action: allow\n  pattern: '('\n",
        (3, 12),
        "    (\n    ^ unclosed group",
        "",
    );
    wrong(
        "rules:\n- action: allow\n  pattern: ''\n",
        (3, 12),
        "the pattern is empty",
        "`.*`",
    );
    wrong(
        "rules:\n- action: allow\n  pattern: \"a\\b\"\n",
        (3, 12),
        "control character",
        "single quotes",
    );
    wrong(
        "rules:\n- action: allow\n  pattern: \"a\\.com\\b\"\n",
        (3, 12),
        "control character",
        "single quotes",
    );
    wrong(
        "rules:\n- action: allow\n  pattern: x\n  host: a.test\n",
        (2, 3),
        "not both",
        "",
    );
    wrong("rules:\n- action: allow\n  path: /x\n", (2, 3), "needs a `host:`", "");
    wrong(
        "rules:\n- action: allow\n  host: 127.1\n",
        (3, 9),
        "invalid host `127.1`",
        "",
    );
    wrong(
        "rules:\n- action: allow\n  host: 0x7f.1\n",
        (3, 9),
        "invalid host `0x7f.1`",
        "",
    );
    wrong(
        "rules:\n- action: allow\n  host: a.test\n  path: /a/../b\n",
        (4, 9),
        "canonical spelling is `/b`",
        "",
    );
    wrong(
        "rules:\n- action: allow\n  pattern: x\n  methods: foo\n",
        (4, 12),
        "invalid method `foo`",
        "get, post",
    );
    wrong(
        "rules:\n- action: allow\n  pattern: x\n  methods: []\n",
        (4, 12),
        "list of methods is empty",
        "every method",
    );
    wrong(
        "rules:\n- action: allow\n  pattern: x\n  methods: [get, foo]\n",
        (4, 18),
        "invalid method `foo`",
        "",
    );
    wrong(
        "rules:\n- action: allow\n  pattern: x\n  methods: {get: 1}\n",
        (4, 12),
        "expected a list of methods",
        "",
    );
    wrong(
        "rules:\n- action: allow\n  action: deny\n  pattern: x\n",
        (3, 3),
        "duplicate field `action`",
        "",
    );
}

#[test]
fn an_escape_that_cannot_be_mended_says_so() {
    wrong(
        "rules: [{action: allow, pattern: \"a\\.com\"}]\n",
        (1, 36),
        "unknown escape",
        "single quotes",
    );
}

#[test]
fn limits() {
    let limits =
        read("limits:\n  connections: 5\n  header-bytes: 8192\n  idle-per-host: 0\n  stall-timeout: 2.5\n  grace:\n")
            .limits;
    let expected = Limits {
        connections: Some(5),
        header_bytes: Some(8192),
        idle_per_host: Some(0),
        stall_timeout: Some(Duration::from_millis(2500)),
        ..Limits::default()
    };
    assert_eq!(limits, expected);
    wrong(
        "limits: {conections: 1}\n",
        (1, 10),
        "unknown key `conections`",
        "did you mean `connections`?",
    );
    wrong(
        "limits: {connections: 0}\n",
        (1, 23),
        "invalid value `0`: expected a number from 1 to 1000000",
        "",
    );
    wrong(
        "limits: {header-bytes: 8191}\n",
        (1, 24),
        "invalid value `8191`: expected a number from 8192 to 16777216",
        "",
    );
    wrong("limits: {connections: many}\n", (1, 23), "expected a number from 1", "");
    wrong("limits: {grace: 0}\n", (1, 17), "expected a positive number", "");
    wrong("limits: 5\n", (1, 9), "expected keys such as", "");
}

#[test]
fn passthrough() {
    let hosts = |text: &str| -> Vec<String> { read(text).passthrough.iter().map(ToString::to_string).collect() };
    assert!(hosts("tls:\n").is_empty());
    assert!(hosts("tls:\n  passthrough:\n").is_empty());
    assert_eq!(hosts("tls: {passthrough: A.test.}\n"), ["a.test"]);
    assert_eq!(
        hosts("tls:\n  passthrough:\n    - pinned.test\n    - '*.bank.test'\n"),
        ["pinned.test", "*.bank.test"]
    );
    wrong(
        "tls: {passthrough: [a.test, 192.0.2.1]}\n",
        (1, 29),
        "invalid host name `192.0.2.1`",
        "",
    );
    wrong("tls: {passthrough: '*'}\n", (1, 20), "invalid host name `*`", "");
    wrong("tls: {passtrough: a.test}\n", (1, 7), "unknown key `passtrough`", "");
    wrong("tls: {passthrough: [[a.test]]}\n", (1, 21), "expected a host name", "");
}

#[test]
fn errors_show_the_line() {
    let shown = |text: &str| parse("r.yaml", text).expect_err(text).to_string();
    assert_eq!(
        shown("rules:\n- action: allow\n  patern: x # why\n"),
        "r.yaml:3:3: rules[0]: unknown key `patern`\n3 |   patern: x # why\n  |   ^"
    );
    assert_eq!(
        shown("dry-run:\tmaybe\n"),
        "r.yaml:1:10: dry-run: invalid type: string \"maybe\", expected a boolean\n1 | dry-run: maybe\n  |          ^"
    );
    let long = format!("user: {}[a]\n", " ".repeat(300));
    let excerpt = parse("r.yaml", &long).expect_err("a list").excerpt;
    let lines: Vec<&str> = excerpt.lines().collect();
    let (mark, start) = (lines[2].find('^').unwrap(), lines[1].find("[a]").unwrap());
    assert!(mark == start && lines[1].len() < 120, "{excerpt}");
}

#[test]
fn no_yaml() {
    for text in [
        "rules: [\n",
        "rules:\n\t- action: allow\n",
        "a: b: c\n",
        "'x\n",
        "\"x\n",
        "rules: *nowhere\n",
        "@x\n",
        "{a\n",
        "- - }\n",
        "rules:\n- action: allow\n pattern: x\n",
        "a: 1\n---\nb: 2\n",
        "rules: []\nrules: []\n",
        "\0",
        "%YAML 9\n---\n",
        "&a [*a]\n",
        "!x y\n",
        "? [a]\n: b\n",
        "rules: !!binary x\n",
    ] {
        let error = parse("r.yaml", text).expect_err(text);
        assert!(
            error.line >= 1 && error.column >= 1 && !error.message.is_empty(),
            "{error}"
        );
    }
}

// Proves: D07.
#[test]
fn deep_and_repeating_files_end() {
    assert!(parse("r.yaml", &"[".repeat(100_000)).is_err());
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n";
    assert!(parse("r.yaml", bomb).is_err());
}

// Proves: D07.
#[test]
fn many_rules() {
    let mut text = String::from("rules:\n");
    for index in 0..100_000 {
        text.push_str(&format!("- action: allow\n  host: h{index}.example.com\n"));
    }
    let file = read(&text);
    assert_eq!(file.rules.len(), 100_000);
    assert_eq!(file.rules[99_999].source().to_string(), "rules.yaml:200000");
    assert_eq!(Policy::new(file.rules).rules().len(), 100_000);
}

const GOOD: &str = "\
version: 1
groups-from: g.yaml
groups:
  forge:
    - {action: allow, host: git.test, path: /x/*}
    - use: web
rules:
  - action: allow
    pattern: \"^https://a\\.test/\"
    methods: [get, head]
    name: 'é'
  - use: [forge, web]
tests:
  - {request: GET https://a.test/, verdict: allow}
limits: {connections: 10, grace: 0.5}
tls:
  passthrough: ['*.bank.test']
timeout: 30
listen: '[::1]:9'
publish: [3000, '4000']
";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_good_file_gone_bad_is_an_error_with_its_place_or_a_policy(
        changes in proptest::collection::vec(
            (any::<proptest::sample::Index>(), 0..3usize, proptest::sample::select(vec![
                "", "\n", " ", "- ", ":", ": ", "'", "\"", "\\", "{", "}", "[", "]", ",", "#", "&a ", "*a", "é", "\u{1b}", "\t", "use", "0", "-1", "\u{feff}", "|\n",
            ])),
            1..4,
        )
    ) {
        let mut bytes = GOOD.as_bytes().to_vec();
        for (place, length, new) in changes {
            let start = place.index(bytes.len());
            let end = (start + length).min(bytes.len());
            bytes.splice(start..end, new.bytes());
        }
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 2;
        let mut read = |_: &Path| Ok(b"groups:\n  web: []\n".to_vec());
        if let Err(error) = load("r.yaml", bytes, &mut read) {
            prop_assert!((1..=lines).contains(&error.line) && error.column >= 1 && !error.message.is_empty(), "{}", error);
        }
    }
}

#[test]
fn the_good_file_is_good() {
    let mut read = |_: &Path| Ok(b"groups:\n  web: []\n".to_vec());
    let file = load("r.yaml", GOOD.as_bytes().to_vec(), &mut read).unwrap();
    assert_eq!((file.rules.len(), file.tests.len(), file.passthrough.len()), (2, 1, 1));
}

proptest! {
    #[test]
    fn whatever_is_read_never_panics(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "rules:", "\n", "  ", "- ", "action: ", "allow", "deny", "pattern: ", "\"a\\.b\"", "'x'", "methods:", " [get]", "host: ", "a.test",
                "{", "}", "[", "]", ":", "&a ", "*a", "#", "\t", "!!str ", "|\n", ">-\n", "---\n", "\u{feff}", "é", "\"", "'", "\\", "timeout: 1",
            ]),
            0..24,
        )
    ) {
        if let Err(error) = parse("r.yaml", &parts.concat()) {
            prop_assert!(error.line >= 1 && error.column >= 1);
        }
    }
}
