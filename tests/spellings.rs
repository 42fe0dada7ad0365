//! Many spellings of one host and of one path: each is taken for what it is, or refused; never judged as one thing and
//! forwarded as another.
//!
//! Every spelling is tried under a rule that allows the plain one and nothing else, and under its twin that denies it and
//! allows everything else. What counts is what the origin saw.

use crate::support::ask::{Talk, ask, get, host};
use crate::support::lab;

/// What a spelling of a host comes to.
#[derive(Debug, Clone, Copy)]
enum Read {
    /// `ok.test`.
    Same,
    /// Another host, whose one spelling this is.
    Other(&'static str),
    /// Another port than the connection's, of `ok.test`.
    Port,
    /// Nothing that has one meaning.
    Bad,
}
use Read::{Bad, Other, Port, Same};

/// Hosts; `PORT` stands for the scheme's own.
const HOSTS: &[(&str, Read)] = &[
    ("ok.test", Same),
    ("OK.TEST", Same),
    ("oK.tEsT", Same),
    ("ok.test.", Same),
    ("OK.TEST.", Same),
    ("ok.test:PORT", Same),
    ("ok.test.:PORT", Same),
    ("  ok.test\t", Same),
    ("evil.test", Other("evil.test")),
    ("www.ok.test", Other("www.ok.test")),
    ("xok.test", Other("xok.test")),
    ("okxtest.test", Other("okxtest.test")),
    ("ok.test.evil.test", Other("ok.test.evil.test")),
    ("ok.test-evil.test", Other("ok.test-evil.test")),
    ("ok_test.test", Other("ok_test.test")),
    ("xn--bcher-kva.test", Other("xn--bcher-kva.test")),
    ("198.51.100.2", Other("198.51.100.2")),
    ("198.51.100.2.", Other("198.51.100.2")),
    ("[2001:DB8:99:0::2]", Other("[2001:db8:99::2]")),
    ("[::ffff:198.51.100.2]", Other("198.51.100.2")),
    ("[::ffff:c633:6402]:PORT", Other("198.51.100.2")),
    ("ok.test:8080", Port),
    ("OK.test.:8080", Port),
    ("", Bad),
    (".", Bad),
    ("..", Bad),
    (".ok.test", Bad),
    ("ok..test", Bad),
    ("ok.test..", Bad),
    ("ok.test:", Bad),
    ("ok.test:0", Bad),
    ("ok.test:0PORT", Bad),
    ("ok.test:+PORT", Bad),
    ("ok.test: PORT", Bad),
    ("ok.test:PORT:PORT", Bad),
    ("ok.test:65616", Bad),
    ("ok.test:http", Bad),
    (":PORT", Bad),
    ("user@ok.test", Bad),
    ("user:secret@ok.test", Bad),
    ("evil.test@ok.test", Bad),
    ("ok.test@evil.test", Bad),
    ("ok.test:secret@evil.test", Bad),
    ("ok%2etest", Bad),
    ("%6fk.test", Bad),
    ("ok.test%00", Bad),
    ("ok.test%00.evil.test", Bad),
    ("ok.test%2eevil.test", Bad),
    ("ok.test\0", Bad),
    ("ok.test\0.evil.test", Bad),
    ("ok.test\x7f", Bad),
    ("ok.test/", Bad),
    ("ok.test/../", Bad),
    ("/ok.test", Bad),
    ("ok.test?x", Bad),
    ("ok.test#x", Bad),
    ("ok.test\\", Bad),
    ("ok.test\\.evil.test", Bad),
    ("evil.test\\@ok.test", Bad),
    ("ok.test,evil.test", Bad),
    ("evil.test, ok.test", Bad),
    ("ok.test;evil.test", Bad),
    ("ok.test evil.test", Bad),
    ("ok.\ttest", Bad),
    ("*.test", Bad),
    ("-ok.test", Bad),
    ("ok-.test", Bad),
    ("http://ok.test", Bad),
    ("//ok.test", Bad),
    // In UTF-8: what IDNA maps to plain letters, and what it drops.
    ("ｏｋ.test", Bad),
    ("o\u{ad}k.test", Bad),
    ("ok\u{3002}test", Bad),
    ("xn--", Bad),
    ("xn--ok.test", Bad),
    // One address in the spellings of inet_aton.
    ("3325256706", Bad),
    ("0xc6336402", Bad),
    ("0306.063.0144.02", Bad),
    ("198.51.25602", Bad),
    ("198.51.100.002", Bad),
    ("[::1", Bad),
    ("[::1]x", Bad),
    ("[fe80::1%25lo]", Bad),
    ("[ok.test]", Bad),
];

// Proves: H03, S15.
#[test]
fn hosts_where_one_is_allowed() {
    check_hosts(&[r"allow: ^https?://ok\.test/"], true);
}

// Proves: H03.
#[test]
fn hosts_where_one_is_denied() {
    check_hosts(&[r"deny: ^https?://ok\.test/", "allow: .*"], false);
}

fn check_hosts(rules: &[&str], same_is_allowed: bool) {
    let lab = lab();
    let jail = rules.iter().fold(lab.jail(), |jail, rule| jail.rule(rule));
    let long = [
        format!("{}.test", "a".repeat(64)),
        format!("{}test", "abcd.".repeat(50)),
    ];
    let long = long.iter().map(|name| (name.as_str(), Bad));
    let (mut talks, mut expected) = (Vec::new(), Vec::new());
    for (spelling, read) in HOSTS.iter().copied().chain(long) {
        let (plain, secret) = (spelling.replace("PORT", "80"), spelling.replace("PORT", "443"));
        let wanted = match read {
            Same => answer(same_is_allowed, "http://ok.test/"),
            Other(name) => answer(!same_is_allowed, &format!("http://{name}/")),
            Port => "421".to_owned(),
            Bad => "400".to_owned(),
        };
        talks.push(Talk::to("ok.test", 80).h1(get("/", host(&plain))));
        expected.push((format!("Host: {spelling}"), vec![wanted.clone()]));
        // In absolute form the port is the URL's.
        let wanted = match read {
            Port => answer(!same_is_allowed, "http://ok.test:8080/"),
            _ => wanted,
        };
        talks.push(Talk::to("ok.test", 80).h1(get(format!("http://{}/", plain.trim()), host(&plain))));
        expected.push((format!("http://{spelling}/"), vec![wanted]));
        // Here the certificate that was asked for binds the connection to one host.
        let wanted = match read {
            Same => answer(same_is_allowed, "https://ok.test/"),
            Other(_) | Port => "421".to_owned(),
            Bad => "400".to_owned(),
        };
        talks.push(Talk::to("ok.test", 443).tls("ok.test").h1(get("/", host(&secret))));
        expected.push((format!("Host: {spelling} in TLS"), vec![wanted]));
    }
    let (heard, outcome) = ask(&lab, jail, &talks);
    compare(&heard, &expected);
    let told = ["request", "refused"].map(|event| outcome.events_with(&[("event", event)]).len());
    assert_eq!(
        told[0] + told[1],
        talks.len(),
        "each has one line in the log: {outcome:#?}"
    );
}

/// Paths, and what is judged and forwarded for each.
const PATHS: &[(&str, Option<&str>)] = &[
    ("/pub/x", Some("/pub/x")),
    ("/admin", Some("/admin")),
    ("/", Some("/")),
    ("/pub/./x", Some("/pub/x")),
    ("/pub/x/.", Some("/pub/x/")),
    ("/pub/x/..", Some("/pub/")),
    ("/pub/../admin", Some("/admin")),
    ("/pub/x/../../admin", Some("/admin")),
    ("/pub/../../../admin", Some("/admin")),
    ("/../admin", Some("/admin")),
    ("/./admin", Some("/admin")),
    ("/admin/.", Some("/admin/")),
    ("/admin/../pub/x", Some("/pub/x")),
    ("/%61dmin", Some("/admin")),
    ("/%61%64%6d%69%6E", Some("/admin")),
    ("/%70ub/x", Some("/pub/x")),
    ("/pub/%2e%2e/admin", Some("/admin")),
    ("/pub/%2E%2E/admin", Some("/admin")),
    ("/pub/.%2e/admin", Some("/admin")),
    ("/pub/%2e./admin", Some("/admin")),
    ("/pub/%2e/x", Some("/pub/x")),
    ("/pub;x/../admin", Some("/admin")),
    ("/pub/x%23/../../admin", Some("/admin")),
    ("/pub/x%3f/../../admin", Some("/admin")),
    ("/pub/..?x", Some("/?x")),
    ("/pub/x?/../admin", Some("/pub/x?/../admin")),
    ("/pub/x?u=%2e%2E\\%00", Some("/pub/x?u=%2e%2E\\%00")),
    ("/pub?/../x", Some("/pub?/../x")),
    ("/pub/%2Fx", Some("/pub/%2Fx")),
    ("/pub/%2fx", Some("/pub/%2Fx")),
    ("/pub%2fx", Some("/pub%2Fx")),
    ("/pub%2f..x", Some("/pub%2F..x")),
    ("/pub/...", Some("/pub/...")),
    ("/pub/.x/..y", Some("/pub/.x/..y")),
    ("/pub/x;y=z", Some("/pub/x;y=z")),
    ("/pub/%c3%bc", Some("/pub/%C3%BC")),
    ("/pub/ü", Some("/pub/%C3%BC")),
    ("/pub/%ff", Some("/pub/%FF")),
    ("/pub/%0d%0ax", Some("/pub/%0D%0Ax")),
    ("/pub/{x}", Some("/pub/%7Bx%7D")),
    ("/pub/<x>", Some("/pub/%3Cx%3E")),
    ("/pub/`\"x", Some("/pub/%60%22x")),
    ("/pub/<x>/../../admin", Some("/admin")),
    ("/pub/\"x\"", Some("/pub/%22x%22")),
    ("/pub/x^y", Some("/pub/x%5Ey")),
    ("/pub/x|y[z]!$&'()*+,=:@~", Some("/pub/x|y[z]!$&'()*+,=:@~")),
    ("/admin%2f", Some("/admin%2F")),
    ("/admin;x", Some("/admin;x")),
    ("/Admin", Some("/Admin")),
    // Servers that take several slashes for one are not second-guessed: these are other paths, and `/+` in a rule has both.
    ("//admin", Some("//admin")),
    ("/%2fadmin", Some("/%2Fadmin")),
    ("/pub/..//admin", Some("//admin")),
    ("/pub//../admin", Some("/pub/admin")),
    ("/pub//x", Some("/pub//x")),
    ("//evil.test/x", Some("//evil.test/x")),
    ("/pub/..;/admin", None),
    ("/pub/..;x=y/admin", None),
    ("/pub/..;", None),
    ("/pub/.;/x", None),
    ("/pub/%2e%2e;/admin", None),
    ("/pub/..%3b/admin", None),
    ("/pub/..%2fadmin", None),
    ("/pub/..%2Fadmin", None),
    ("/pub/%2e%2e%2fadmin", None),
    ("/pub/.%2fx", None),
    ("/pub%2f../admin", None),
    ("/pub%2f..%2fadmin", None),
    ("/pub/..\\admin", None),
    ("/pub\\..\\admin", None),
    ("/pub/..%5cadmin", None),
    ("/pub/%5C../admin", None),
    ("/pub/..%00/admin", None),
    ("/pub/x%00.png", None),
    ("/%00", None),
    ("/pub/%252e%252e/admin", None),
    ("/pub/..%252fadmin", None),
    ("/pub/..%255cadmin", None),
    ("/pub/%25252e%25252e/admin", None),
    ("/pub/%c0%ae%c0%ae/admin", None),
    ("/pub/..%c0%afadmin", None),
    ("/pub/..%c1%9cadmin", None),
    ("/pub/%e0%80%ae%e0%80%ae/admin", None),
    ("/pub/%", None),
    ("/pub/%2", None),
    ("/pub/%zz", None),
    ("/pub/%%32e%%32e/admin", None),
    ("/pub/%u002e%u002e/admin", None),
    ("/pub/x y", None),
    ("/pub/\tx", None),
    ("/pub/\x01", None),
    ("/pub/\x7f", None),
    ("/pub/x#/../admin", None),
    ("*", None),
    ("admin", None),
    ("pub/x", None),
];

// Proves: H04.
#[test]
fn paths_where_one_is_allowed() {
    check_paths(&[r"allow: ^https?://ok\.test/pub/"], |path| path.starts_with("/pub/"));
}

// Proves: H04.
#[test]
fn paths_where_one_is_denied() {
    let rules = [r"deny: ^https?://ok\.test/admin", r"allow: ^https?://ok\.test/"];
    check_paths(&rules, |path| !path.starts_with("/admin"));
}

fn check_paths(rules: &[&str], allowed: impl Fn(&str) -> bool) {
    let lab = lab();
    let jail = rules.iter().fold(lab.jail(), |jail, rule| jail.rule(rule));
    let (mut talks, mut expected) = (Vec::new(), Vec::new());
    for (spelling, canonical) in PATHS.iter().copied() {
        let wanted = |canonical: Option<&str>, scheme: &str| match canonical {
            Some(path) => answer(allowed(path), &format!("{scheme}://ok.test{path}")),
            None => "400".to_owned(),
        };
        talks.push(Talk::to("ok.test", 80).h1(get(spelling, host("ok.test"))));
        expected.push((spelling.to_owned(), vec![wanted(canonical, "http")]));
        let secret = Talk::to("ok.test", 443).tls("ok.test");
        talks.push(secret.clone().h1(get(spelling, host("ok.test"))));
        expected.push((format!("{spelling} in TLS"), vec![wanted(canonical, "https")]));
        if spelling.starts_with('/') {
            let url = format!("http://ok.test{spelling}");
            talks.push(Talk::to("ok.test", 80).h1(get(&url, host("ok.test"))));
            expected.push((url, vec![wanted(canonical, "http")]));
        }
        // In HTTP/2 hyper drops a fragment before anybody sees it.
        let (spelling, canonical) = match spelling.split_once('#') {
            Some((before, _)) => (spelling, Some(before)),
            None => (spelling, canonical),
        };
        // What hyper does not take for a path ends the stream, or the connection, without an answer.
        let mut wanted = vec![wanted(canonical, "https")];
        if spelling.contains(['<', '`']) {
            wanted.clear();
        }
        if canonical.is_none() || wanted.is_empty() {
            wanted.extend(["reset".into(), "closed".into()]);
        }
        // Bytes, as the script says them; it is told characters.
        let path: String = spelling.bytes().map(char::from).collect();
        let fields = vec![
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "ok.test"),
            (":path", &*path),
        ];
        talks.push(secret.h2(&[fields]));
        expected.push((format!("{spelling} in HTTP/2"), wanted));
    }
    let (heard, _) = ask(&lab, jail, &talks);
    compare(&heard, &expected);
}

/// What a conversation of one `GET` comes to.
fn answer(allowed: bool, url: &str) -> String {
    if allowed {
        format!("200 | GET {url}")
    } else {
        "403".to_owned()
    }
}

/// Every cell that is not as expected, at once.
#[track_caller]
fn compare(heard: &[String], expected: &[(String, Vec<String>)]) {
    let wrong: Vec<String> = heard
        .iter()
        .zip(expected)
        .filter(|(heard, (_, wanted))| !wanted.contains(heard))
        .map(|(heard, (what, wanted))| format!("{what:?}: {heard}, not {}", wanted.join(" or ")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
