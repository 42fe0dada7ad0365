//! One set of requests by every way to the proxy: steered, in absolute form, through a CONNECT; in a jail, in weak mode and
//! with `serve`. The answers, what reaches the origin and what is logged are the same, but for what only a jail can know.

use std::time::Duration;

use httpjail_lab::{JailBuilder, Lab, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::ask::{Talk, ask};
use crate::support::{Expect as _, lab};

const RULES: [&str; 7] = [
    r"deny: ^https?://ok\.test/private",
    r"deny-post: ^https?://ok\.test/read-only",
    r"allow-get: ^https?://ok\.test/",
    r"allow-post: ^https?://ok\.test/",
    r"allow-head: ^https?://ok\.test/",
    r"allow: ^https?://(ok\.test:8080|rebind\.test|nowhere\.invalid)/",
    r"deny: ^https?://evil\.test/",
];

const METHODS: [&str; 10] = [
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "PROPFIND", "get", "G!T",
];

/// Scheme, authority, path.
const URLS: &[(&str, &str, &str)] = &[
    ("http", "ok.test", "/"),
    ("http", "OK.test.:80", "/a?b=c"),
    ("http", "ok.test", "/private/x"),
    ("http", "ok.test", "/pub/../private/x"),
    ("http", "ok.test", "/%70rivate"),
    ("http", "ok.test", "/pub/..;/x"),
    ("http", "ok.test", "/read-only"),
    ("http", "ok.test:8080", "/"),
    ("http", "evil.test", "/"),
    ("http", "other.test", "/"),
    ("http", "198.51.100.2", "/"),
    ("https", "ok.test", "/"),
    ("https", "OK.test:443", "/a?b=c"),
    ("https", "ok.test", "/pub/../private/x"),
    ("https", "ok.test", "/pub/%00"),
    ("https", "ok.test", "/read-only"),
    ("https", "evil.test", "/"),
    ("https", "other.test", "/"),
];

/// Heads in which something is odd, up to the empty line. `TARGET` is `http://ok.test/p`, or of it the path.
const ODD: &[&str] = &[
    "GET TARGET HTTP/1.1\r\nHost: ok.test\r\nHost: ok.test",
    "GET TARGET HTTP/1.1\r\nHost: ok.test\r\nHost: evil.test",
    "GET TARGET HTTP/1.1\r\nHost : ok.test",
    "GET TARGET HTTP/1.1\r\nHost: ok.test\r\n folded",
    "GET TARGET HTTP/1.1\r\nHost: ok.test\r\nX: a\0b",
    "GET TARGET HTTP/1.1\r\nHost: ok.test\r\nX: a\rb",
    "GET TARGET HTTP/1.1\r\nHost: ok.test\r\nX y: z",
    "GET TARGET HTTP/1.1\nHost: ok.test",
    "GET TARGET HTTP/1.0\r\nHost: ok.test",
    "GET TARGET HTTP/1.0",
    "GET TARGET HTTP/1.2\r\nHost: ok.test",
    "GET TARGET HTTP/2.0\r\nHost: ok.test",
    "GET TARGET HTTP/0.9\r\nHost: ok.test",
    "GET  TARGET HTTP/1.1\r\nHost: ok.test",
    "GET TARGET  HTTP/1.1\r\nHost: ok.test",
    " GET TARGET HTTP/1.1\r\nHost: ok.test",
    "\r\nGET TARGET HTTP/1.1\r\nHost: ok.test",
    "GET TARGET x HTTP/1.1\r\nHost: ok.test",
    "GET TARGET\\x HTTP/1.1\r\nHost: ok.test",
    "GET TARGET%zz HTTP/1.1\r\nHost: ok.test",
    "GET TARGET?\x7f HTTP/1.1\r\nHost: ok.test",
    "POST TARGET HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 0\r\nTransfer-Encoding: chunked",
    "POST TARGET HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 0\r\nContent-Length: 1",
    "POST TARGET HTTP/1.1\r\nHost: ok.test\r\nContent-Length: -1",
    "POST TARGET HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 0x0",
    "POST TARGET HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked, chunked",
    "POST TARGET HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: gzip",
    "POST TARGET HTTP/1.0\r\nHost: ok.test\r\nTransfer-Encoding: chunked",
    "GET TARGET HTTP/1.1\r\nHost: ok.test\r\nConnection: Host, Upgrade\r\nUpgrade: h2c",
    "GET TARGET HTTP/1.1\r\nHost: ok.test\r\nConnection: Upgrade\r\nUpgrade: websocket",
    "POST TARGET HTTP/1.1\r\nHost: ok.test\r\nX-HTTP-Method-Override: DELETE\r\nContent-Length: 0",
    "GET TARGET HTTP/1.1\r\nHost: ok.test\r\nExpect: 100-continue\r\nContent-Length: 0",
    "GET TARGET HTTP/1.1\r\nHost: ok.test\r\nProxy-Connection: keep-alive\r\nTE: trailers",
    "GET TARGET HTTP/1.1\r\nHost: ok.test\r\nX-Filler: FILLER",
];

/// How a request comes to the proxy.
#[derive(Debug, Clone, Copy)]
enum By {
    Steering,
    AbsoluteForm,
    Connect,
}

/// A request, whichever way it comes.
struct Case {
    tls: bool,
    host: String,
    port: u16,
    authority: String,
    path: String,
    /// With `TARGET` in it.
    said: String,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut push = |scheme: &str, authority: &str, path: &str, head: &str, body: &str| {
        let tls = scheme == "https";
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().unwrap()),
            None => (authority, if tls { 443 } else { 80 }),
        };
        cases.push(Case {
            tls,
            host: host.trim_end_matches('.').to_ascii_lowercase(),
            port,
            authority: authority.to_owned(),
            path: path.to_owned(),
            said: format!("{head}\r\nMARK\r\nConnection: close\r\n\r\n{body}"),
        });
    };
    for (scheme, authority, path) in URLS {
        for method in METHODS {
            let (length, body) = match method {
                "POST" | "PUT" | "PATCH" => ("\r\nContent-Length: 4", "data"),
                _ => ("", ""),
            };
            push(
                scheme,
                authority,
                path,
                &format!("{method} TARGET HTTP/1.1\r\nHost: {authority}{length}"),
                body,
            );
        }
    }
    // Allowed, and then not to be had.
    for (scheme, authority) in [
        ("http", "rebind.test"),
        ("https", "rebind.test"),
        ("http", "nowhere.invalid"),
    ] {
        push(
            scheme,
            authority,
            "/",
            &format!("GET TARGET HTTP/1.1\r\nHost: {authority}"),
            "",
        );
    }
    for head in ODD {
        let head = head.replace("FILLER", &"x".repeat(100_000));
        let body = if head.contains("chunked") { "0\r\n\r\n" } else { "" };
        push("http", "ok.test", "/p", &head, body);
        push("https", "ok.test", "/p", &head, body);
    }
    cases
}

impl Case {
    /// What is said to have it by `way`, to the proxy at `proxy`; TLS takes the way of a CONNECT for any but steering.
    fn talk(&self, by: By, proxy: (&str, u16)) -> Talk {
        let origin_form = self.said.replace("TARGET", &self.path);
        let talk = match (by, self.tls) {
            (By::Steering, _) => Talk::to(&self.host, self.port),
            (By::AbsoluteForm, false) => {
                let url = format!("http://{}{}", self.authority, self.path);
                return Talk::to(proxy.0, proxy.1).h1(self.said.replace("TARGET", &url));
            }
            (By::Connect | By::AbsoluteForm, _) => {
                let to = format!("{}:{}", self.host, self.port);
                Talk::to(proxy.0, proxy.1).connect(&format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n"))
            }
        };
        match self.tls {
            true => talk.tls(&self.host).h1(origin_form),
            false => talk.h1(origin_form),
        }
    }
}

/// What came of all cases: in the client's eyes and the origin's for each, and the lines of the log in no order.
#[derive(PartialEq)]
struct Told {
    heard: Vec<String>,
    seen: Vec<String>,
    log: Vec<String>,
}

impl Told {
    fn new(lab: &Lab, run: JailBuilder<'_>, cases: &[Case], by: By, proxy: (&str, u16)) -> (Told, Vec<Value>) {
        let talks: Vec<Talk> = cases.iter().map(|case| case.talk(by, proxy)).collect();
        let (mut heard, outcome) = ask(lab, run, &talks);
        for (case, heard) in cases.iter().zip(&mut heard) {
            // The answer to the CONNECT itself.
            if matches!((by, case.tls), (By::Connect, _) | (By::AbsoluteForm, true)) {
                *heard = heard
                    .strip_prefix("200 ")
                    .unwrap_or_else(|| panic!("no tunnel: {heard}"))
                    .to_owned();
            }
        }
        let requests = lab.heard().requests.all();
        let mut seen: Vec<String> = requests
            .into_iter()
            .map(|mut seen| {
                seen.headers.sort();
                let (headers, body) = (&seen.headers, &seen.body);
                format!(
                    "{} {} {} {headers:?} {body:?} {:?}",
                    seen.method, seen.host, seen.path, seen.sni
                )
            })
            .collect();
        seen.sort();
        let told = Told {
            heard,
            seen,
            log: Vec::new(),
        };
        (told, outcome.events)
    }

    fn with_log(mut self, events: &[Value]) -> Told {
        // Only a jail knows who asked, and where the connection was meant to go.
        const OWN: [&str; 10] = [
            "ts",
            "session",
            "seq",
            "duration_ms",
            "dst",
            "pid",
            "exe",
            "comm",
            "cmdline",
            "cgroup",
        ];
        let judged = events
            .iter()
            .filter(|event| event["event"] == "request" || event["event"] == "refused");
        let bare = judged.map(|event| {
            let mut event = event.clone();
            let refused = event["event"] == "refused";
            event.as_object_mut().unwrap().retain(|name, _| {
                let name = name.as_str();
                // What is no request is told by where the connection went, or by the tunnel that was asked for.
                !(OWN.contains(&name) || refused && ["host", "method", "url"].contains(&name))
            });
            event.to_string()
        });
        self.log = bare.collect();
        self.log.sort();
        self
    }

    #[track_caller]
    fn is(&self, wanted: &Told, cases: &[Case]) {
        for ((case, heard), wanted) in cases.iter().zip(&self.heard).zip(&wanted.heard) {
            assert_eq!(
                heard,
                wanted,
                "{:?} to {} {}",
                case.said.get(..200.min(case.said.len())),
                case.authority,
                case.path
            );
        }
        let lines = [(&self.seen, &wanted.seen), (&self.log, &wanted.log)];
        for (mine, other) in lines {
            let only = |these: &[String], those: &[String]| {
                these
                    .iter()
                    .filter(|line| !those.contains(line))
                    .cloned()
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            assert!(
                mine == other,
                "only here:\n{}\nonly there:\n{}",
                only(mine, other),
                only(other, mine)
            );
        }
    }
}

fn world() -> Lab {
    let lab = lab();
    lab.resolve("rebind.test", &["169.254.169.254".parse().unwrap()]);
    lab
}

fn ruled(jail: JailBuilder<'_>) -> JailBuilder<'_> {
    RULES.iter().fold(jail, |jail, rule| jail.rule(rule))
}

fn steered(cases: &[Case]) -> Told {
    let lab = world();
    let (told, events) = Told::new(&lab, ruled(lab.jail()), cases, By::Steering, ("", 0));
    told.with_log(&events)
}

/// What is compared has all of it, or the comparison says nothing.
#[track_caller]
fn is_telling(told: &Told, cases: &[Case]) {
    for status in ["200 | ", "200 | POST https", "403", "400", "502", "closed"] {
        assert!(
            told.heard.iter().any(|heard| heard.starts_with(status)),
            "no {status} in {:?}",
            told.heard
        );
    }
    assert_eq!(told.log.len(), cases.len(), "a line each");
    assert!(told.seen.len() > 30, "{}", told.seen.len());
}

// Proves on ebpf: H01, H03, H04, H07.
#[test]
fn in_a_jail() {
    let cases = cases();
    let wanted = steered(&cases);
    is_telling(&wanted, &cases);
    for by in [By::AbsoluteForm, By::Connect] {
        let lab = world();
        let (told, events) = Told::new(&lab, ruled(lab.jail()), &cases, by, ("proxy.test", 3128));
        told.with_log(&events).is(&wanted, &cases);
    }
}

// Proves on weak: H01, H03, H04, H07, H15, S15.
#[test]
fn in_weak_mode() {
    let cases = cases();
    let wanted = steered(&cases);
    for by in [By::AbsoluteForm, By::Connect] {
        let lab = world();
        let weak = ruled(lab.jail().option("--backend").option("weak"));
        let (told, events) = Told::new(&lab, weak, &cases, by, ("proxy", 0));
        told.with_log(&events).is(&wanted, &cases);
    }
}

#[test]
fn served() {
    let cases = cases();
    let wanted = steered(&cases);
    for by in [By::AbsoluteForm, By::Connect] {
        let lab = world();
        let log = lab.fresh_path("served.json");
        let (binary, ca) = (lab.binary().to_owned(), lab.upstream_ca());
        let mut line: Vec<std::ffi::OsString> = vec![binary.into(), "serve".into(), "--upstream-ca".into(), ca.into()];
        line.extend(
            [
                "--listen",
                "127.0.0.1:0",
                "--auth",
                "none",
                "--log-format",
                "json",
                "--log",
            ]
            .map(Into::into),
        );
        line.push(log.clone().into());
        line.extend(RULES.iter().flat_map(|rule| ["-r".into(), rule.into()]));
        let server = lab.unjailed().command(line).start().unwrap();
        assert!(
            eventually(Duration::from_secs(20), || server.stdout().ends_with('\n')),
            "{}",
            server.stderr()
        );
        let run = lab.unjailed().env("http_proxy", server.stdout().trim());
        let (told, _) = Told::new(&lab, run, &cases, by, ("proxy", 0));
        server.signal(Signal::SIGTERM);
        server.wait().unwrap().expect_code(0);
        let log = std::fs::read_to_string(log).unwrap();
        let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        told.with_log(&events).is(&wanted, &cases);
    }
}
