//! An exchange byte by byte, with the test as the server: interim responses, bodies that wait, answers that may not be
//! believed, peers that stall or leave.

use super::support::{Jail, gist};
use crate::proxy::{Config, Mode};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where the test plays the server.
const PLAYED: &str = "192.0.2.1:8008";
const FOR_EVER: Duration = Duration::from_secs(3600);

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n";
const POST: &str = "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\nConnection: x\r\nX: y\r\n\r\n";
const HINTS_SEEN: &str = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n";
/// The connection is not used again, so that each request is a connection to be accepted.
const OK: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
const OK_SEEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A jail in which waiting for an upstream's word is for ever, unless it is changed.
async fn jail_with(change: impl FnOnce(&mut Config)) -> Jail {
    Jail::with(&["allow: .*"], |config| {
        config.limits.expect = FOR_EVER;
        change(config);
    })
    .await
}

async fn jail() -> Jail {
    jail_with(|_| {}).await
}

/// A connection on which `request` was sent, and the server's end of what came of it, its head read.
async fn ask(jail: &Jail, request: &str) -> (TcpStream, TcpStream, String) {
    let mut client = jail.connect(PLAYED).await;
    say(&mut client, request).await;
    let (mut server, _) = jail.world.origin.accept().await.unwrap();
    let head = head_of(&mut server).await;
    (client, server, head)
}

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Reads exactly as much as is expected.
#[track_caller]
fn hears<'a>(stream: &'a mut TcpStream, expected: &'a str) -> impl Future<Output = ()> + 'a {
    let place = std::panic::Location::caller();
    async move {
        let mut bytes = vec![0; expected.len()];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), expected, "{place}");
    }
}

async fn rest_of(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn interims_are_passed_on_as_they_come() {
    let jail = jail().await;
    let (mut client, mut server, _) = ask(&jail, GET).await;
    for _ in 0..3 {
        say(&mut server, HINTS).await;
        hears(&mut client, HINTS_SEEN).await;
    }
    say(&mut server, OK).await;
    hears(&mut client, OK_SEEN).await;
    // All at once, and two requests that were sent together.
    say(&mut client, &[GET, GET].concat()).await;
    for _ in 0..2 {
        let (mut server, _) = jail.world.origin.accept().await.unwrap();
        head_of(&mut server).await;
        say(&mut server, &[HINTS, HINTS, OK].concat()).await;
    }
    for seen in [HINTS_SEEN, HINTS_SEEN, OK_SEEN, HINTS_SEEN, HINTS_SEEN, OK_SEEN] {
        hears(&mut client, seen).await;
    }
    assert_eq!(
        gist(&jail.log.nth(3).await),
        "Request Allow GET http://a.test:8008/x 200 [-]"
    );
}

#[tokio::test]
async fn interims_that_nobody_could_use_end_here() {
    let jail = jail().await;
    // Nobody waits for a 100, and 1.0 knows none of them.
    let (mut client, mut server, _) = ask(&jail, GET).await;
    say(&mut server, &["HTTP/1.1 100 Continue\r\n\r\n", OK].concat()).await;
    hears(&mut client, OK_SEEN).await;
    let (mut client, mut server, _) = ask(&jail, "GET /x HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
    say(&mut server, &[HINTS, OK].concat()).await;
    assert!(rest_of(&mut client).await.starts_with("HTTP/1.0 200 OK\r\n"));
}

// Proves: H18.
#[tokio::test]
async fn interims_without_end_are_an_error() {
    let jail = jail().await;
    let (mut client, mut server, _) = ask(&jail, GET).await;
    say(&mut server, &"HTTP/1.1 102 Processing\r\n\r\n".repeat(1_100)).await;
    let mut heads = 0;
    while head_of(&mut client).await.starts_with("HTTP/1.1 102 ") {
        heads += 1;
    }
    assert!(heads <= 1_100, "{heads}");
    assert_eq!(
        gist(&jail.log.nth(1).await),
        "Request Allow GET http://a.test:8008/x 502 [bad response]"
    );
    // The connection is done with.
    assert_eq!(rest_of(&mut server).await, "");
}

#[tokio::test]
async fn a_body_is_asked_for_when_the_server_asks() {
    let jail = jail().await;
    let (mut client, mut server, head) = ask(&jail, POST).await;
    assert!(head.contains("Expect: 100-continue\r\n"), "{head}");
    say(&mut server, "HTTP/1.1 100 Continue\r\n\r\n").await;
    hears(&mut client, "HTTP/1.1 100 Continue\r\n\r\n").await;
    say(&mut client, "body").await;
    hears(&mut server, "body").await;
    say(&mut server, OK).await;
    hears(&mut client, OK_SEEN).await;
}

/// A final answer to the head alone: the body is neither asked for nor sent, and no later request is read into it.
#[tokio::test]
async fn a_body_that_the_server_does_not_want() {
    let jail = jail().await;
    let (mut client, mut server, _) = ask(&jail, POST).await;
    say(
        &mut server,
        "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 3\r\n\r\nno\n",
    )
    .await;
    let answer = rest_of(&mut client).await;
    assert!(
        answer.starts_with("HTTP/1.1 417 ") && answer.ends_with("\r\n\r\nno\n"),
        "{answer}"
    );
    assert_eq!(rest_of(&mut server).await, "");
    let record = jail.log.nth(1).await;
    assert_eq!(gist(&record), "Request Allow POST http://a.test:8008/x 417 [-]");
    assert_eq!(record.bytes_in, Some(0));
}

#[tokio::test]
async fn a_server_that_knows_no_expectations() {
    let jail = jail_with(|config| config.limits.expect = Duration::ZERO).await;
    let (mut client, mut server, _) = ask(&jail, POST).await;
    hears(&mut client, "HTTP/1.1 100 Continue\r\n\r\n").await;
    say(&mut client, "body").await;
    hears(&mut server, "body").await;
    say(&mut server, OK).await;
    hears(&mut client, OK_SEEN).await;
}

// Proves: H18.
#[tokio::test]
async fn answers_that_may_be_read_in_two_ways() {
    let check = async |fields: &str, expected: &str| {
        let jail = jail().await;
        let (mut client, mut server, _) = ask(&jail, GET).await;
        let (version, fields) = fields
            .split_once(' ')
            .filter(|(version, _)| *version == "1.0")
            .unwrap_or(("1.1", fields));
        say(&mut server, &format!("HTTP/{version} 200 OK\r\n{fields}\r\n\r\n")).await;
        say(&mut server, "2\r\nok\r\n0\r\n\r\n").await;
        let head = head_of(&mut client).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {expected}")), "{fields}: {head}");
        assert_eq!(
            head.to_ascii_lowercase().matches("content-length").count(),
            usize::from(!fields.ends_with("chunked") || expected != "200")
        );
        jail.log.nth(1).await.reason
    };
    assert_eq!(check("Transfer-Encoding: chunked", "200").await, None);
    assert_eq!(check("Content-Length: 12\r\nContent-Length: 12", "200").await, None);
    let bad = Some("bad response".to_owned());
    assert_eq!(
        check("Content-Length: 12\r\nTransfer-Encoding: chunked", "502").await,
        bad
    );
    assert_eq!(check("Transfer-Encoding: gzip, chunked", "502").await, bad);
    assert_eq!(check("Transfer-Encoding: identity", "502").await, bad);
    // These hyper refuses by itself.
    let broken = Some("upstream broke off".to_owned());
    assert_eq!(check("Content-Length: 12\r\nContent-Length: 13", "502").await, broken);
    assert_eq!(check("Content-Length: x", "502").await, broken);
    assert_eq!(check("1.0 Transfer-Encoding: chunked", "502").await, broken);
}

/// What breaks off right after its head has a head: hyper would throw it away with the error.
#[tokio::test]
async fn answers_that_end_after_their_head() {
    for broken in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
    ] {
        let jail = jail().await;
        let (mut client, mut server, _) = ask(&jail, GET).await;
        say(&mut server, broken).await;
        drop(server);
        let seen = rest_of(&mut client).await;
        assert!(seen.starts_with("HTTP/1.1 200 OK\r\n"), "{broken:?}: {seen:?}");
        let whole = if broken.contains("abc") { "3\r\nabc\r\n" } else { "" };
        assert!(seen.ends_with(&format!("\r\n\r\n{whole}")), "{broken:?}: {seen:?}");
        let record = jail.log.nth(1).await;
        assert_eq!(
            gist(&record),
            "Request Allow GET http://a.test:8008/x 200 [upstream broke off]"
        );
        let failure = record.failure.unwrap_or_default();
        assert!(failure.starts_with("The server's answer broke off: "), "{failure}");
    }
}

/// What went wrong later is told beside the verdict and its reason, never in their place.
#[tokio::test]
async fn the_verdict_of_a_dry_run_stays() {
    let jail = Jail::with(&["deny: /no"], |config| config.mode = Mode::DryRun).await;
    let (mut client, server, _) = ask(&jail, "GET /no HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    drop(server);
    assert!(head_of(&mut client).await.starts_with("HTTP/1.1 502 "));
    let record = jail.log.nth(1).await;
    assert_eq!(
        gist(&record),
        "Request Deny GET http://a.test:8008/no 502 [denied by rule]"
    );
    assert!(record.is_denied_by_policy() && !record.has_failed(), "{record:?}");
    assert_eq!(record.complete, Some(false));
    let failure = record.failure.unwrap_or_default();
    assert!(
        failure.starts_with("The server did not give a proper answer: "),
        "{failure}"
    );
}

/// RFC 9112 section 5.1: a proxy must take the white space away; and what it then reads counts.
#[tokio::test]
async fn white_space_before_a_colon() {
    let jail = jail().await;
    let (mut client, mut server, _) = ask(&jail, GET).await;
    say(
        &mut server,
        "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length\t: 2\r\n\r\nok",
    )
    .await;
    let head = head_of(&mut client).await;
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.contains("X-A: b\r\n"),
        "{head}"
    );
    assert!(head.contains("Content-Length: 2\r\n"), "{head}");
    // Another's: the first has a connection that is used again.
    let jail = self::jail().await;
    let (mut client, mut server, _) = ask(&jail, GET).await;
    let both = "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\nContent-Length : 2\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    say(&mut server, both).await;
    let head = head_of(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
}

/// What comes after an answer is nobody's: the connection is closed, and the next request goes elsewhere.
// Proves: H18.
#[tokio::test]
async fn bytes_after_an_answer() {
    let jail = jail().await;
    let (mut client, mut server, _) = ask(&jail, GET).await;
    let kept = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    say(
        &mut server,
        &format!("{kept}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
    )
    .await;
    hears(&mut client, OK_SEEN).await;
    assert_eq!(rest_of(&mut server).await, "");
    say(&mut client, GET).await;
    let (mut server, _) = jail.world.origin.accept().await.unwrap();
    say(&mut server, OK).await;
    hears(&mut client, OK_SEEN).await;
}

/// Servers that look for no body there would take it for the next request.
#[tokio::test]
async fn a_get_with_a_body_is_the_last_on_its_connection() {
    let jail = jail().await;
    let (mut client, mut server, head) = ask(
        &jail,
        "GET /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody",
    )
    .await;
    assert!(head.contains("Connection: close\r\n"), "{head}");
    hears(&mut server, "body").await;
    say(&mut server, OK).await;
    hears(&mut client, OK_SEEN).await;
    assert_eq!(rest_of(&mut server).await, "");
}

#[tokio::test]
async fn a_client_that_says_no_more_gets_its_answer() {
    let jail = jail().await;
    let (mut client, mut server, _) = ask(&jail, GET).await;
    client.shutdown().await.unwrap();
    say(&mut server, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let head = head_of(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    say(&mut server, "2\r\nok\r\n0\r\n\r\n").await;
    assert_eq!(rest_of(&mut client).await, "2\r\nok\r\n0\r\n\r\n");
}

/// Nothing may be held for ever by those who are slow or gone.
// Proves: D01.
#[tokio::test]
async fn who_stalls_is_left() {
    let soon = Duration::from_millis(20);
    let check = async |change: &dyn Fn(&mut Config), answer: &str, leave: bool, expected: &str| {
        let jail = jail_with(|config| change(config)).await;
        let (mut client, mut server, _) = ask(&jail, GET).await;
        if !answer.is_empty() {
            say(&mut server, answer).await;
            head_of(&mut client).await;
        }
        if leave {
            client.shutdown().await.unwrap();
        }
        assert_eq!(
            gist(&jail.log.nth(1).await),
            format!("Request Allow GET http://a.test:8008/x {expected}")
        );
        assert_eq!(rest_of(&mut server).await, "");
    };
    let part = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
    check(&|config| config.limits.stall = soon, part, false, "200 [timed out]").await;
    check(&|config| config.limits.response = soon, "", false, "504 [timed out]").await;
    check(&|config| config.limits.half_closed = soon, "", true, "- [cut short]").await;
    check(
        &|config| config.limits.half_closed = soon,
        part,
        true,
        "200 [cut short]",
    )
    .await;
}

/// A client that takes nothing of an answer without end.
// Proves: D01.
#[tokio::test]
async fn who_does_not_read_is_left() {
    let jail = jail_with(|config| config.limits.stall = Duration::from_millis(100)).await;
    let mut client = jail.connect("192.0.2.1:80").await;
    say(&mut client, "GET /endless HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(
        gist(&jail.log.nth(1).await),
        "Request Allow GET http://a.test/endless 200 [cut short]"
    );
    drop(client);
}

/// A body with a fault never becomes whole upstream, and its client learns why.
// Proves: H07, H23.
#[tokio::test]
async fn a_fault_in_a_body() {
    let check = async |body: &str, reason: &str| {
        let jail = jail().await;
        let head = "POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (mut client, mut server, _) = ask(&jail, head).await;
        say(&mut client, body).await;
        client.shutdown().await.unwrap();
        let answer = rest_of(&mut client).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("x-httpjail: malformed"),
            "{answer}"
        );
        let record = jail.log.nth(1).await;
        assert_eq!(
            gist(&record),
            format!("Request Allow POST http://a.test:8008/x 400 [{reason}]")
        );
        // It was allowed, and part of it is there.
        assert_eq!(record.complete, Some(false));
        let arrived = rest_of(&mut server).await;
        assert!(!arrived.contains("\r\n0\r\n"), "{arrived}");
    };
    check("3\r\nabc\r\n0x\r\n", "malformed request: chunk").await;
    check("3\r\nabc\r\n0\r\nHost: b.test\r\n\r\n", "malformed request: trailer").await;
    check("3\r\nabc\r\n", "request cut short").await;
}

/// Some servers answer 411 where no length is said, though there is nothing (RFC 9110 section 8.6).
#[tokio::test]
async fn a_body_of_nothing_says_its_length() {
    let check = async |head: &str, says: bool| {
        let jail = jail().await;
        let head = format!("{head}\r\nHost: a.test\r\n");
        let (_client, _server, asked) = ask(&jail, &format!("{head}\r\n")).await;
        assert_eq!(asked.contains("Content-Length: 0\r\n"), says, "{head}: {asked}");
        let (_client, _server, asked) = ask(&jail, &format!("{head}Content-Length: 0\r\n\r\n")).await;
        assert!(asked.contains("Content-Length: 0\r\n"), "{head}: {asked}");
    };
    check("POST /x HTTP/1.1", true).await;
    check("PUT /x HTTP/1.1", true).await;
    check("PATCH /x HTTP/1.1", true).await;
    check("DELETE /x HTTP/1.1", false).await;
    check("GET /x HTTP/1.1", false).await;
}

/// One record, one answer, and the connection ends.
// Proves: H07.
#[tokio::test]
async fn a_fault_in_a_head() {
    let jail = jail().await;
    let mut client = jail.connect(PLAYED).await;
    say(
        &mut client,
        "GET /x HTTP/1.1\nHost: a.test\r\n\r\nGET /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
    )
    .await;
    let answer = rest_of(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert_eq!(jail.raw("192.0.2.1:25", "EHLO a.test\r\n").await, "");
    assert_eq!(
        gist(&jail.log.nth(1).await),
        "Refused Deny GET http://a.test/x 400 [malformed request: bare line feed]"
    );
    assert_eq!(gist(&jail.log.nth(2).await), "Refused Deny - - - [not http]");
}

/// It is not waited for the rest of a head that is refused already, nor for what might come after it.
#[tokio::test]
async fn a_fault_in_an_unfinished_head() {
    let jail = jail_with(|config| config.limits.header = FOR_EVER).await;
    for rest in ["", "X: no end", "\r\n", "\r\nno end"] {
        let answer = jail
            .raw(
                PLAYED,
                format!("GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n{rest}"),
            )
            .await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{rest:?}: {answer}");
    }
    assert_eq!(
        gist(&jail.log.nth(1).await),
        "Refused Deny GET http://a.test/ 400 [malformed request: two hosts]"
    );
}

/// What was kept open may be closed at any time: a request that meets that is sent again. One that the server may have
/// acted on is not.
#[tokio::test]
async fn a_kept_connection_that_ends() {
    let kept = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let check = async |method: &str, last_words: &str, again: bool| {
        let jail = jail().await;
        let (mut client, mut server, _) = ask(&jail, GET).await;
        say(&mut server, kept).await;
        hears(&mut client, OK_SEEN).await;
        // Sent on the kept connection; or on another, if it was not given back yet.
        say(&mut client, &GET.replace("GET", method)).await;
        let mut first = [0; 1];
        tokio::select! {
            read = server.read_exact(&mut first) => { read.unwrap(); }
            accepted = jail.world.origin.accept() => {
                let (other, _) = accepted.unwrap();
                server = other;
                server.read_exact(&mut first).await.unwrap();
            }
        }
        head_of(&mut server).await;
        say(&mut server, last_words).await;
        drop(server);
        let mut answer = [0; 12];
        tokio::select! {
            read = client.read_exact(&mut answer) => { read.unwrap(); }
            accepted = jail.world.origin.accept() => {
                let (mut server, _) = accepted.unwrap();
                head_of(&mut server).await;
                assert!(again, "{method} {last_words:?} was sent again");
                say(&mut server, OK).await;
                client.read_exact(&mut answer).await.unwrap();
            }
        }
        let status = if again { "200" } else { "502" };
        assert_eq!(
            String::from_utf8_lossy(&answer),
            format!("HTTP/1.1 {status}"),
            "{method} {last_words:?}"
        );
    };
    check("GET", "", true).await;
    check("POST", "", false).await;
    check("GET", "HTTP/1.1 200 O", false).await;
    check("GET", "HTTP/1.1 100 Continue\r\n\r\n", false).await;
}

/// A server that answers at the head and is gone: whatever it does to the rest of the upload, what it said arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_to_an_upload_that_goes_on() {
    let jail = jail().await;
    for round in 0..100 {
        let head = "POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (client, mut server, _) = ask(&jail, head).await;
        let (mut read, mut write) = client.into_split();
        let upload = tokio::spawn(async move {
            // Breaks off where the proxy hangs up.
            for _ in 0..200 {
                if write.write_all(b"4\r\nbody\r\n").await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            write
        });
        server.read_exact(&mut [0; 4]).await.unwrap();
        say(&mut server, OK).await;
        // A reset at once, or one for each byte that still comes.
        if round % 2 == 0 {
            server.set_zero_linger().unwrap();
        }
        drop(server);
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            answer.push(read.read_u8().await.unwrap());
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{round}: {answer}");
        drop(upload.await);
        let record = jail.log.nth(round + 1).await;
        assert_eq!(gist(&record), "Request Allow POST http://a.test:8008/x 200 [-]");
    }
}

/// What a server is sent for `head`, and the client for `answer`: but for what concerns one connection, the same bytes.
async fn names(head: &str, sent: &str, answer: &str, seen: &str) {
    let jail = jail().await;
    let (mut client, mut server, arrived) = ask(&jail, head).await;
    assert_eq!(arrived, sent);
    say(&mut server, answer).await;
    hears(&mut client, seen).await;
}

#[tokio::test]
async fn names_as_they_are_spelt() {
    names(
        "GET /ws HTTP/1.1\r\nHost: a.test:8008\r\nSec-WebSocket-Version: 13\r\nuPGRADE: websocket\r\nCONNECTION: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nDNT: 1\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: a.test:8008\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         DNT: 1\r\nCONNECTION: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nX-ODD: 1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhi",
        "HTTP/1.1 101 Switching Protocols\r\nX-ODD: 1\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi",
    )
    .await;
    // As many as there may be, of two spellings each, and one as long as there may be.
    let many: String = (0..190)
        .map(|number| format!("X-{}: {number}\r\n", if number % 2 == 0 { "aB" } else { "Ab" }))
        .collect();
    let long = format!("X{}: y\r\n", "-yZ".repeat(15_000));
    let get = |fields: &str| format!("GET /x HTTP/1.1\r\nHost: a.test:8008\r\n{fields}\r\n");
    let with = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
    for fields in [many, long] {
        names(&get(&fields), &get(&fields), &with(&fields), &with(&fields)).await;
    }
    // Nothing is added to what has no capitals.
    let small = "x-a: 1\r\nuser-agent: ua\r\n";
    names(&get(small), &get(small), &with(small), &with(small)).await;
    // Trailers come without their spelling.
    names(
        "POST /x HTTP/1.1\r\nHost: a.test:8008\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a.test:8008\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-Encoding: chunked\r\nTrailer: x-SUM\r\n\r\n0\r\nx-SUM: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTrailer: x-SUM\r\ntransfer-Encoding: chunked\r\n\r\n0\r\nx-sum: 1\r\n\r\n",
    )
    .await;
}

/// A request that is sent again looks as it did the first time.
#[tokio::test]
async fn names_of_what_is_sent_again() {
    let jail = jail().await;
    let request = "GET /x HTTP/1.1\r\nHost: a.test:8008\r\nX-aPI: 1\r\nACCEPT: a\r\n\r\n";
    let (mut client, mut server, head) = ask(&jail, request).await;
    assert_eq!(head, request);
    say(&mut server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    hears(&mut client, OK_SEEN).await;
    // The server ends the connection when it may have been given back and used again.
    say(&mut client, request).await;
    let mut first = [0; 1];
    let mut other = tokio::select! {
        read = server.read_exact(&mut first) => {
            read.unwrap();
            head_of(&mut server).await;
            drop(server);
            jail.world.origin.accept().await.unwrap().0
        }
        accepted = jail.world.origin.accept() => accepted.unwrap().0,
    };
    assert_eq!(head_of(&mut other).await, request);
}
