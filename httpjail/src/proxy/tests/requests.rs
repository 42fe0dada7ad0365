//! Verdicts on the wire and in the log.

use super::support::{Jail, gist, http2_on, policy, text};
use crate::audit::Decision;
use crate::proxy::Mode;
use http::{Request, Version};
use http_body_util::Full;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const A: &str = "192.0.2.1:80";
const ALLOW_A: &str = r"allow: ^http://a\.test/";

#[tokio::test]
async fn allowed_is_forwarded_and_recorded() {
    let jail = Jail::new(&[ALLOW_A]).await;
    let (status, body) = jail.get(A, "A.test", "/x/../p?q=%41").await;
    assert_eq!(
        (status, body.as_str()),
        (200, "HTTP/1.1 GET /p?q=%41\nhost: \"a.test\"\n")
    );
    let record = jail.log.nth(1).await;
    assert_eq!(gist(&record), "Request Allow GET http://a.test/p?q=%41 200 [-]");
    assert_eq!(record.rule.as_deref(), Some(ALLOW_A));
    assert_eq!(record.dst, Some(A.parse().unwrap()));
    assert_eq!(record.host.as_deref(), Some("a.test"));
    assert_eq!(
        (record.pid, record.comm.as_deref(), record.cgroup),
        (Some(77), Some("client"), Some(5))
    );
    assert_eq!(record.exe.as_deref(), Some("/bin/program-77"));
    assert_eq!((record.bytes_in, record.bytes_out), (Some(0), Some(body.len() as u64)));
    assert!(record.duration_ms.is_some());
}

// Proves: H01.
#[tokio::test]
async fn denied_reaches_no_upstream() {
    let jail = Jail::new(&[r"deny: /secret", ALLOW_A]).await;
    assert_eq!(jail.get(A, "a.test", "/secret").await.0, 403);
    assert_eq!(jail.get(A, "b.test", "/").await.0, 403);
    assert_eq!(
        gist(&jail.log.nth(1).await),
        "Request Deny GET http://a.test/secret 403 [denied by rule]"
    );
    assert_eq!(
        gist(&jail.log.nth(2).await),
        "Request Deny GET http://b.test/ 403 [no rule matched]"
    );
    assert_eq!((jail.world.seen.dialled(), jail.world.seen.connections()), (vec![], 0));
    // The twin: what is allowed does.
    assert_eq!(jail.get(A, "a.test", "/").await.0, 200);
    assert_eq!(jail.world.seen.connections(), 1);
}

#[tokio::test]
async fn a_refusal_names_what_and_why() {
    let jail = Jail::new(&[r"deny-get: ^http://a\.test/no"]).await;
    let answer = jail
        .raw(A, "GET /no HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.contains("x-httpjail: deny\r\n"), "{answer}");
    for word in [
        "GET http://a.test/no",
        r"deny-get: ^http://a\.test/no",
        "policy",
        "retry will not help",
    ] {
        assert!(answer.contains(word), "{word}: {answer}");
    }
}

#[tokio::test]
async fn dry_run_and_log_only_forward() {
    let check = async |mode, rules: &[&str], expected: &str| {
        let jail = Jail::with(rules, |config| config.mode = mode).await;
        let status = jail.get(A, "a.test", "/").await.0;
        assert_eq!(gist(&jail.log.nth(1).await), expected);
        // What has no one meaning stays refused.
        let malformed = jail
            .raw(
                A,
                "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\nConnection: close\r\n\r\n",
            )
            .await;
        assert!(malformed.starts_with("HTTP/1.1 400"), "{malformed}");
        status
    };
    let deny = &[r"deny: a\.test"][..];
    assert_eq!(
        check(
            Mode::Enforce,
            deny,
            "Request Deny GET http://a.test/ 403 [denied by rule]"
        )
        .await,
        403
    );
    assert_eq!(
        check(
            Mode::DryRun,
            deny,
            "Request Deny GET http://a.test/ 200 [denied by rule]"
        )
        .await,
        200
    );
    assert_eq!(
        check(
            Mode::DryRun,
            &[],
            "Request Deny GET http://a.test/ 200 [no rule matched]"
        )
        .await,
        200
    );
    assert_eq!(
        check(Mode::DryRun, &[ALLOW_A], "Request Allow GET http://a.test/ 200 [-]").await,
        200
    );
    assert_eq!(
        check(Mode::LogOnly, deny, "Request Allow GET http://a.test/ 200 [-]").await,
        200
    );
    assert_eq!(
        check(Mode::Learn, &[], "Request Allow GET http://a.test/ 200 [-]").await,
        200
    );
    let denied = "Request Deny GET http://a.test/ 403 [denied by rule]";
    assert_eq!(check(Mode::Learn, deny, denied).await, 403);
}

/// What hyper takes and we must not.
// Proves: H01, H02, H03, H07.
#[tokio::test]
async fn ambiguous_heads() {
    let jail = Jail::new(&["allow: .*"]).await;
    let check = async |head: &str, status: u16| {
        let answer = jail.raw(A, format!("{head}\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head:?}: {answer}");
    };
    check("GET / HTTP/1.1\r\nHost: a.test", 200).await;
    check("GET http://a.test/ HTTP/1.1\r\nHost: a.test", 200).await;
    let allowed = jail.world.seen.requests();
    check("GET / HTTP/1.1\r\nX: y", 400).await;
    check("GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test", 400).await;
    check("GET / HTTP/1.1\r\nHost: u:p@a.test", 400).await;
    check("GET / HTTP/1.1\r\nHost: a.test\\@b.test", 400).await;
    check("GET /%00 HTTP/1.1\r\nHost: a.test", 400).await;
    check("get / HTTP/1.1\r\nHost: a.test", 400).await;
    check("GET http://a.test/ HTTP/1.1\r\nHost: b.test", 421).await;
    check("GET https://a.test/ HTTP/1.1\r\nHost: a.test", 421).await;
    check("GET / HTTP/1.1\r\nHost: a.test:81", 421).await;
    assert_eq!(jail.world.seen.requests(), allowed);
    assert_eq!(
        gist(&jail.log.nth(3).await),
        "Request Deny GET http:/// 400 [malformed request]"
    );
    assert_eq!(
        gist(&jail.log.nth(9).await),
        "Request Deny GET http://a.test/ 421 [host mismatch]"
    );
}

// Proves: H10.
#[tokio::test]
async fn each_request_of_a_connection_is_judged() {
    let jail = Jail::new(&[ALLOW_A]).await;
    let mut client = jail.http1(A).await;
    for (host, status) in [("a.test", 200), ("b.test", 403), ("a.test", 200)] {
        let request = Request::builder().header("host", host).body(Full::default()).unwrap();
        client.ready().await.unwrap();
        assert_eq!(text(client.send_request(request).await.unwrap()).await.0, status);
    }
    let pipelined = "GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\nGET /2 HTTP/1.1\r\nHost: b.test\r\n\r\n\
                     GET /3 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let answer = jail.raw(A, pipelined).await;
    let statuses: Vec<_> = answer
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &answer[at + 9..at + 12])
        .collect();
    // The origin's own echo says HTTP/1.1, too.
    assert_eq!(statuses, ["200", "GET", "403", "200", "GET"]);
    assert_eq!(jail.world.seen.requests(), 4);
}

// Proves: D06.
#[tokio::test]
async fn a_log_that_cannot_be_written_denies() {
    let jail = Jail::with(&[ALLOW_A], |config| config.mode = Mode::LogOnly).await;
    jail.log.broken.store(true, Ordering::SeqCst);
    let (status, body) = jail.get(A, "a.test", "/").await;
    assert_eq!(status, 503);
    assert!(body.contains("log cannot be written"), "{body}");
    assert_eq!(jail.world.seen.connections(), 0);
    jail.log.broken.store(false, Ordering::SeqCst);
    assert_eq!(jail.get(A, "a.test", "/").await.0, 200);
}

// Proves: H06.
#[tokio::test]
async fn a_new_policy_holds_on_old_connections() {
    let rules = Arc::new(arc_swap::ArcSwap::from_pointee(policy(&[ALLOW_A])));
    let jail = Jail::with(&[], |config| config.policy = rules.clone()).await;
    let mut client = jail.http1(A).await;
    for status in [200, 403] {
        let request = Request::builder()
            .header("host", "a.test")
            .body(Full::default())
            .unwrap();
        client.ready().await.unwrap();
        assert_eq!(text(client.send_request(request).await.unwrap()).await.0, status);
        rules.store(Arc::new(policy(&[])));
    }
}

#[tokio::test]
async fn tls_by_sni_over_both_versions() {
    let jail = Jail::new(&[r"allow: ^https://a\.test/"]).await;
    let ask = |host: &str| {
        Request::builder()
            .uri("/p")
            .header("host", host)
            .body(Full::default())
            .unwrap()
    };
    let mut client = jail.https1("a.test").await;
    let (status, body) = text(client.send_request(ask("a.test")).await.unwrap()).await;
    // The upstream leg chooses for itself.
    assert_eq!((status, body.as_str()), (200, "HTTP/2.0 GET https://a.test/p\n"));
    client.ready().await.unwrap();
    assert_eq!(text(client.send_request(ask("b.test")).await.unwrap()).await.0, 421);

    let mut client = jail.https2("a.test").await;
    let ask = |uri: &str| {
        Request::builder()
            .version(Version::HTTP_2)
            .uri(uri)
            .body(Full::default())
            .unwrap()
    };
    for (uri, status) in [
        ("https://a.test/q", 200),
        ("https://b.test/q", 421),
        ("https://a.test:444/q", 421),
    ] {
        assert_eq!(
            text(client.send_request(ask(uri)).await.unwrap()).await.0,
            status,
            "{uri}"
        );
    }
    assert_eq!(
        gist(&jail.log.nth(4).await),
        "Request Deny GET https://b.test/q 421 [host mismatch]"
    );
    // One connection upstream carried all of it.
    assert_eq!(jail.world.seen.connections(), 1);
}

// Proves: H11.
#[tokio::test]
async fn http2_in_cleartext_is_judged_by_stream() {
    let jail = Jail::new(&[ALLOW_A]).await;
    let mut client = http2_on(jail.connect(A).await).await;
    let ask = |uri: &str| {
        Request::builder()
            .version(Version::HTTP_2)
            .uri(uri)
            .body(Full::default())
            .unwrap()
    };
    let (allowed, denied) = tokio::join!(
        client.clone().send_request(ask("http://a.test/")),
        client.send_request(ask("http://b.test/"))
    );
    assert_eq!(text(denied.unwrap()).await.0, 403);
    assert_eq!(
        text(allowed.unwrap()).await,
        (200, "HTTP/2.0 GET http://a.test/\n".into())
    );
}

#[tokio::test]
async fn grpc_gets_a_status() {
    let jail = Jail::new(&[]).await;
    let mut client = jail.https2("a.test").await;
    let call = Request::post("https://a.test/pkg.Service/Call").header("content-type", "application/grpc");
    let response = client.send_request(call.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["grpc-status"]),
        (200, &"7".parse().unwrap())
    );
    assert!(
        response.headers()["grpc-message"]
            .to_str()
            .unwrap()
            .contains("POST https://a.test/pkg.Service/Call")
    );
    assert_eq!(jail.log.nth(1).await.verdict, Some(Decision::Deny));
}

// Proves: H08.
#[tokio::test]
async fn http_1_0_clients() {
    let jail = Jail::new(&[ALLOW_A]).await;
    // Without a Host field the made-up address names the host.
    let answer = jail.raw("198.18.0.1:80", "GET / HTTP/1.0\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.contains("host: \"a.test\""),
        "{answer}"
    );
    assert!(
        jail.raw("198.18.0.2:80", "GET / HTTP/1.0\r\n\r\n")
            .await
            .starts_with("HTTP/1.0 403")
    );
}

// Proves: H17.
#[tokio::test]
async fn what_a_client_says_of_the_connection_stays_here() {
    let jail = Jail::new(&["allow: .*"]).await;
    let head = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close, host, x-mine\r\nX-Mine: 1\r\nX-Kept: 2\r\n\
                Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nX-HTTP-Method-Override: DELETE\r\n\r\n";
    let answer = jail.raw(A, head).await;
    assert!(
        answer.ends_with("HTTP/1.1 GET /\nhost: \"a.test\"\nx-kept: \"2\"\n"),
        "{answer}"
    );
    assert!(!answer.contains("alt-svc"), "{answer}");
}
