//! A request names its host more than once: in its target, its Host field, the server name of its TLS, and the address that
//! was dialled. They agree, or it goes nowhere; and what goes somewhere goes to the host that was judged.

use httpjail_lab::{FORBIDDEN_V4, JailBuilder, Lab, Seen, WORLD_V4, WORLD_V6};

use crate::support::ask::{Talk, ask, get, host};
use crate::support::lab;

const RULES: [&str; 2] = [r"deny: ^https?://evil\.test/", r"allow: ^https?://ok\.test/"];

/// Allowed by a rule, denied by one, and named by none; each with an address of its own.
const HOSTS: [&str; 3] = ["ok.test", "evil.test", "other.test"];

fn world() -> Lab {
    let lab = lab();
    lab.resolve("other.test", &["198.51.100.4".parse().unwrap()]);
    lab
}

fn jail(lab: &Lab) -> JailBuilder<'_> {
    RULES.iter().fold(lab.jail(), |jail, rule| jail.rule(rule))
}

/// What was dialled for a request that was seen, and for which name.
fn is_at_home(seen: &Seen) -> bool {
    let at = seen.local.ip().to_canonical();
    seen.host == "ok.test"
        && (at == WORLD_V4 || at == WORLD_V6)
        && (!seen.tls || seen.sni.as_deref() == Some("ok.test"))
}

/// Three names of three places each, by the address and by the name that was looked up for it.
// Proves: H01.
#[test]
fn the_matrix() {
    let lab = world();
    let addresses = [
        WORLD_V4.to_string(),
        FORBIDDEN_V4.to_string(),
        "198.51.100.4".to_owned(),
    ];
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).chain(HOSTS).collect();
    let (mut talks, mut cells) = (Vec::new(), Vec::new());
    let mut cell = |talk: Talk, what: String, agree: bool, named: &str, scheme: &str| {
        talks.push(talk);
        let answer = match named {
            _ if !agree => "421".to_owned(),
            "ok.test" => format!("200 | GET {scheme}://ok.test/"),
            _ => "403".to_owned(),
        };
        cells.push((what, answer));
    };
    for address in &addresses {
        for field in HOSTS {
            for name in HOSTS {
                let secret = Talk::to(address, 443).tls(name).h1(get("/", host(field)));
                let what = format!("{address}, server name {name}, Host {field}");
                cell(secret, what, name == field, field, "https");
                // Cleartext has no server name; its third is the target in absolute form.
                let plain = Talk::to(address, 80).h1(get(format!("http://{name}/"), host(field)));
                let what = format!("{address}, target {name}, Host {field}");
                cell(plain, what, name == field, field, "http");
            }
            let what = format!("{address}, Host {field}");
            cell(
                Talk::to(address, 80).h1(get("/", host(field))),
                what,
                true,
                field,
                "http",
            );
            // Without a server name it is the connection's: the one that was looked up, else the bare address.
            let secret = Talk::to(address, 443).tls("").h1(get("/", host(field)));
            let what = format!("{address}, no server name, Host {field}");
            cell(secret, what, *address == field, field, "https");
        }
    }
    let (heard, outcome) = ask(&lab, jail(&lab), &talks);
    for (heard, (what, answer)) in heard.iter().zip(&cells) {
        assert_eq!(heard, answer, "{what}");
    }
    let seen = lab.heard().requests.all();
    assert!(!seen.is_empty() && seen.iter().all(is_at_home), "{seen:#?}");
    for status in ["200", "403", "421"] {
        let count = cells.iter().filter(|(_, answer)| answer.starts_with(status)).count();
        let logged = outcome.events_with(&[("event", "request"), ("status", status)]).len();
        assert_eq!(logged, count, "lines of {status} in the log: {outcome:#?}");
    }
}

/// `:authority` and `host` of HTTP/2 (RFC 9113 section 8.3.1), in TLS that was opened for `ok.test`.
// Proves: H09.
#[test]
fn authorities_of_http2() {
    let lab = world();
    let allowed = "200 | GET https://ok.test/";
    let mut talks = Vec::new();
    let mut wanted: Vec<(Vec<(&str, &str)>, &str)> = Vec::new();
    let usual = [(":method", "GET"), (":scheme", "https"), (":path", "/")];
    for (authority, field, answer) in [
        (Some("ok.test"), None, allowed),
        (Some("OK.test.:443"), None, allowed),
        (Some("ok.test"), Some("ok.test"), allowed),
        (Some("ok.test"), Some("OK.test:443"), allowed),
        (None, Some("ok.test"), allowed),
        (None, None, "400"),
        (Some("evil.test"), None, "421"),
        (Some("other.test"), None, "421"),
        (Some("ok.test"), Some("evil.test"), "421"),
        (Some("evil.test"), Some("ok.test"), "421"),
        (Some("evil.test"), Some("evil.test"), "421"),
        (None, Some("evil.test"), "421"),
        (Some("ok.test:444"), None, "421"),
        (Some("ok.test"), Some("ok.test:80"), "421"),
        (Some("user@ok.test"), None, "400"),
        (Some("evil.test@ok.test"), None, "400"),
        (Some("ok.test"), Some("ok.test, evil.test"), "400"),
        (Some("ok.test"), Some(""), "400"),
        (Some(""), Some("ok.test"), "400"),
        (Some("ok..test"), None, "400"),
        (Some("[::1"), None, "400"),
    ] {
        let mut fields = usual.to_vec();
        fields.extend(authority.map(|authority| (":authority", authority)));
        fields.extend(field.map(|field| ("host", field)));
        wanted.push((fields, answer));
    }
    let head = |fields: &[(&'static str, &'static str)]| fields.to_vec();
    for (fields, answer) in [
        // Twice, in either kind; another scheme; none.
        (
            head(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":path", "/"),
                (":authority", "ok.test"),
                ("host", "ok.test"),
                ("host", "ok.test"),
            ]),
            "400",
        ),
        (
            head(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":path", "/"),
                (":authority", "ok.test"),
                (":authority", "evil.test"),
            ]),
            "400",
        ),
        (
            head(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "ok.test"),
            ]),
            "421",
        ),
        (
            head(&[(":method", "GET"), (":path", "/"), (":authority", "ok.test")]),
            "400",
        ),
        (
            head(&[(":method", "GET"), (":scheme", "https"), (":authority", "ok.test")]),
            "400",
        ),
        (
            head(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":path", ""),
                (":authority", "ok.test"),
            ]),
            "400",
        ),
        (
            head(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":path", "https://evil.test/"),
                (":authority", "ok.test"),
            ]),
            "400",
        ),
        (head(&[(":method", "CONNECT"), (":authority", "ok.test:443")]), "405"),
        (
            head(&[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "https"),
                (":path", "/"),
                (":authority", "ok.test"),
            ]),
            "400",
        ),
        (
            head(&[
                (":method", "get"),
                (":scheme", "https"),
                (":path", "/"),
                (":authority", "ok.test"),
            ]),
            "400",
        ),
    ] {
        wanted.push((fields, answer));
    }
    for (fields, _) in &wanted {
        talks.push(Talk::to("ok.test", 443).tls("ok.test").h2(std::slice::from_ref(fields)));
    }
    let (heard, _) = ask(&lab, jail(&lab), &talks);
    for (heard, (fields, answer)) in heard.iter().zip(&wanted) {
        // What HTTP/2 itself forbids has no answer: the stream is reset, or the connection closed.
        let same = heard == answer || *answer == "400" && (heard == "reset" || heard == "closed");
        assert!(same, "{fields:?}: {heard}, not {answer}");
    }
    assert!(lab.heard().requests.all().iter().all(is_at_home));
}

/// Each request is judged, whatever the one before it on its connection was.
// Proves: H10.
#[test]
fn pipelined_requests() {
    let lab = world();
    let rules = [
        r"deny: ^https?://ok\.test/private",
        r"allow: ^https?://(ok|other)\.test/",
    ];
    let jail = rules.iter().fold(lab.jail(), |jail, rule| jail.rule(rule));
    // A body that looks like a request is a body.
    const HIDDEN: &str = "POST /private/hidden HTTP/1.1\r\nHost: ok.test\r\n\r\n";
    // In TLS or not; path, Host and body of each; what comes of it.
    type Line = (
        bool,
        &'static [(&'static str, &'static str, &'static str)],
        &'static str,
    );
    let table: &[Line] = &[
        (
            false,
            &[("/1", "ok.test", ""), ("/private", "ok.test", "")],
            "200 403 200 | POST http://ok.test/1 | GET http://ok.test/end",
        ),
        (
            false,
            &[("/private", "ok.test", ""), ("/2", "ok.test", "")],
            "403 200 200 | POST http://ok.test/2 | GET http://ok.test/end",
        ),
        (
            false,
            &[("/3", "ok.test", HIDDEN)],
            "200 200 | POST http://ok.test/3 | GET http://ok.test/end",
        ),
        (
            false,
            &[("/private", "ok.test", HIDDEN)],
            "403 200 | GET http://ok.test/end",
        ),
        (
            false,
            &[("/4", "ok.test", ""), ("/5", "evil.test", "")],
            "200 403 200 | POST http://ok.test/4 | GET http://ok.test/end",
        ),
        (
            false,
            &[("/6", "ok.test", ""), ("/7", "other.test", "")],
            "200 200 200 | POST http://ok.test/6 | POST http://other.test/7 | GET http://ok.test/end",
        ),
        (
            true,
            &[("/1", "ok.test", ""), ("/private", "ok.test", "")],
            "200 403 200 | POST https://ok.test/1 | GET https://ok.test/end",
        ),
        (
            true,
            &[("/private", "ok.test", HIDDEN)],
            "403 200 | GET https://ok.test/end",
        ),
        (
            true,
            &[("/4", "ok.test", ""), ("/5", "evil.test", "")],
            "200 421 200 | POST https://ok.test/4 | GET https://ok.test/end",
        ),
        // Allowed by a rule, and yet not on this connection.
        (
            true,
            &[("/6", "ok.test", ""), ("/7", "other.test", "")],
            "200 421 200 | POST https://ok.test/6 | GET https://ok.test/end",
        ),
    ];
    let talks: Vec<Talk> = table
        .iter()
        .map(|(tls, requests, _)| {
            let mut said = Vec::new();
            for (path, at, body) in *requests {
                let length = body.len();
                said.extend(
                    format!("POST {path} HTTP/1.1\r\nHost: {at}\r\nContent-Length: {length}\r\nMARK\r\n\r\n{body}")
                        .bytes(),
                );
            }
            said.extend(get("/end", host("ok.test")));
            match tls {
                true => Talk::to("ok.test", 443).tls("ok.test").h1(said),
                false => Talk::to("ok.test", 80).h1(said),
            }
        })
        .collect();
    let (heard, _) = ask(&lab, jail, &talks);
    for (heard, (_, requests, answer)) in heard.iter().zip(table) {
        assert_eq!(heard, answer, "{requests:?}");
    }
}

/// Ten streams of two hosts at once, their bodies cut up among each other: those of the other host are refused, allowed or
/// not, and the rest arrive whole.
// Proves: H10.
#[test]
fn interleaved_streams() {
    let lab = world();
    for (stranger, status) in [("evil.test", "421"), ("other.test", "421"), ("ok.test", "200")] {
        let before = lab.heard().requests.all().len();
        let bodies: Vec<String> = (0..10)
            .map(|nth| format!("stream {nth} of {stranger}").repeat(9))
            .collect();
        let streams: Vec<Vec<(&str, &str)>> = bodies
            .iter()
            .enumerate()
            .map(|(nth, body)| {
                let authority = if nth % 2 == 0 { "ok.test" } else { stranger };
                vec![
                    (":method", "POST"),
                    (":scheme", "https"),
                    (":path", "/echo"),
                    (":authority", authority),
                    ("", body),
                ]
            })
            .collect();
        let talk = Talk::to("ok.test", 443).tls("ok.test").h2(&streams);
        let (heard, _) = ask(&lab, lab.jail().rule(r"allow: ^https://(ok|other)\.test/"), &[talk]);
        assert!(
            heard[0].starts_with(&["200", status].repeat(5).join(" ")),
            "{stranger}: {}",
            heard[0]
        );
        let seen = lab.heard().requests.all().split_off(before);
        let mut arrived: Vec<String> = seen
            .iter()
            .map(|seen| String::from_utf8_lossy(&seen.body).into_owned())
            .collect();
        arrived.sort();
        let sent = bodies
            .iter()
            .enumerate()
            .filter(|(nth, _)| nth % 2 == 0 || status == "200");
        assert_eq!(arrived, sent.map(|(_, body)| body.clone()).collect::<Vec<_>>());
        assert!(seen.iter().all(is_at_home), "{seen:#?}");
    }
}

/// What a CONNECT opens leads to the judge and nowhere else.
// Proves: H15.
#[test]
fn tunnels() {
    let lab = world();
    let open =
        |to: &str| Talk::to("198.51.100.4", 3128).connect(&format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n"));
    let said = |head: &str| Talk::to("198.51.100.4", 3128).h1(format!("{head}\r\nConnection: close\r\n\r\n"));
    let ok = || get("/", host("ok.test"));
    let evil = || get("/", host("evil.test"));
    let table = [
        (
            open("ok.test:443").tls("ok.test").h1(ok()),
            "200 200 | GET https://ok.test/",
        ),
        (
            open("OK.test.:443").tls("ok.test").h1(ok()),
            "200 200 | GET https://ok.test/",
        ),
        (
            open("198.51.100.2:443").tls("ok.test").h1(ok()),
            "200 200 | GET https://ok.test/",
        ),
        (open("ok.test:80").h1(ok()), "200 200 | GET http://ok.test/"),
        (open("evil.test:443").tls("evil.test").h1(evil()), "200 403"),
        (open("evil.test:443").tls("ok.test").h1(ok()), "200 421"),
        (open("ok.test:443").tls("evil.test").h1(evil()), "200 421"),
        (open("ok.test:443").tls("ok.test").h1(evil()), "200 421"),
        (open("ok.test:80").h1(evil()), "200 421"),
        (open("evil.test:80").h1(evil()), "200 403"),
        (open("evil.test:80").h1(ok()), "200 421"),
        (
            open("ok.test:80").h1(get("http://evil.test/", host("evil.test"))),
            "200 421",
        ),
        // No other protocol, and no tunnel in a tunnel.
        (open("ok.test:443").h1("SSH-2.0-probe\r\n"), "200 closed"),
        (open("ok.test:22").h1("SSH-2.0-probe\r\n"), "200 closed"),
        (open("ok.test:25").h1("EHLO probe\r\n"), "200 closed"),
        (
            open("ok.test:80").h1("CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test:443\r\nConnection: close\r\n\r\n"),
            "200 405",
        ),
        (
            open("ok.test:443")
                .tls("ok.test")
                .h1("CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test:443\r\nConnection: close\r\n\r\n"),
            "200 405",
        ),
        (
            Talk::to("ok.test", 443)
                .tls("ok.test")
                .h1("CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test:443\r\nConnection: close\r\n\r\n"),
            "405",
        ),
        // What is said in the same breath is not taken for anything else.
        (
            said("CONNECT ok.test:80 HTTP/1.1\r\nHost: ok.test:80\r\n\r\nGET / HTTP/1.1\r\nHost: evil.test"),
            "200 421",
        ),
        (
            said("CONNECT evil.test:80 HTTP/1.1\r\nHost: evil.test:80\r\n\r\nGET / HTTP/1.1\r\nHost: ok.test"),
            "200 421",
        ),
        // Not the form that a CONNECT has.
        (said("CONNECT ok.test:443 HTTP/1.1\r\nHost: evil.test:443"), "421"),
        (said("CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test:444"), "421"),
        (said("CONNECT ok.test:443 HTTP/1.1"), "400"),
        (
            said("CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test\r\nHost: ok.test"),
            "400",
        ),
        (
            said("CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 5"),
            "400",
        ),
        (
            said("CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked"),
            "400",
        ),
        (said("CONNECT ok.test HTTP/1.1\r\nHost: ok.test"), "400"),
        (said("CONNECT ok.test:0 HTTP/1.1\r\nHost: ok.test"), "400"),
        (said("CONNECT ok.test:0443 HTTP/1.1\r\nHost: ok.test"), "400"),
        (said("CONNECT user@ok.test:443 HTTP/1.1\r\nHost: ok.test"), "400"),
        (said("CONNECT http://ok.test/ HTTP/1.1\r\nHost: ok.test"), "400"),
        (said("CONNECT / HTTP/1.1\r\nHost: ok.test"), "400"),
        (said("connect ok.test:443 HTTP/1.1\r\nHost: ok.test"), "400"),
        // A relay inside the jail is only a longer way to the same judge.
        (
            Talk::to("ok.test", 443).relayed().tls("ok.test").h1(ok()),
            "200 | GET https://ok.test/",
        ),
        (Talk::to("ok.test", 443).relayed().tls("evil.test").h1(evil()), "403"),
        (
            Talk::to("198.51.100.4", 3128)
                .relayed()
                .connect("CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n")
                .tls("evil.test")
                .h1(evil()),
            "200 403",
        ),
        (Talk::to("ok.test", 22).relayed().h1("SSH-2.0-probe\r\n"), "closed"),
    ];
    let talks: Vec<Talk> = table.iter().map(|(talk, _)| talk.clone()).collect();
    let (heard, outcome) = ask(&lab, jail(&lab), &talks);
    for (heard, (talk, answer)) in heard.iter().zip(&table) {
        assert_eq!(heard, answer, "{talk:?}: {outcome:#?}");
    }
    assert!(lab.heard().requests.all().iter().all(is_at_home));
    assert_eq!(lab.heard().contacts.all().len(), 0);
}
