//! Clients that know of a proxy get the verdicts of those that know of none.

use super::support::{Jail, gist};
use crate::proxy::{Clients, ProxyAuth, Token};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

const RULES: [&str; 7] = [
    r"deny: /secret",
    r"allow-get: ^https?://a\.test/",
    r"allow-post: ^https://b\.test/up",
    r"allow: ^http://b\.test:8080/",
    r"allow: ^https://bad\.test/",
    r"allow: ^http://(rebound|dead)\.test/",
    r"allow: ^http://inn",
];

/// How a request gets to the proxy.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Steered here, by a client that knows nothing.
    Steered,
    /// Sent to a proxy that is asked for by name.
    Explicit,
    /// Sent to some other proxy, and steered here.
    Unwrapped,
}

async fn jail(way: Way) -> Jail {
    match way {
        Way::Explicit => Jail::with(&RULES, |config| config.clients = Clients::Explicit(ProxyAuth::Open)).await,
        Way::Steered | Way::Unwrapped => Jail::new(&RULES).await,
    }
}

/// Sends `method url` as a client does on its way, with more header lines; what the log says of it, the status that the
/// client saw, and how many requests reached the internet.
async fn ask(way: Way, method: &str, url: &str, more: &str) -> (String, Option<String>, String, usize) {
    let jail = jail(way).await;
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_at(rest.find('/').unwrap());
    let default = if scheme == "https" { 443 } else { 80 };
    let (host, port) = authority
        .rsplit_once(':')
        .map_or((authority, default), |(host, port)| (host, port.parse().unwrap()));
    let host_field = match more.contains("Host:") {
        true => String::new(),
        false => format!("Host: {authority}\r\n"),
    };
    let head = |target: &str| format!("{method} {target} HTTP/1.1\r\n{host_field}{more}Connection: close\r\n\r\n");
    let connection = match way {
        Way::Steered => jail.connect(&format!("192.0.2.1:{port}")).await,
        Way::Explicit | Way::Unwrapped => jail.connect("192.0.2.9:3128").await,
    };
    let answer = match (scheme, way) {
        ("http", Way::Steered) => exchange(connection, &head(path)).await,
        ("http", _) => exchange(connection, &head(url)).await,
        (_, Way::Steered) => exchange(jail.tls_through(connection, host).await.unwrap(), &head(path)).await,
        _ => {
            let tunnel = tunnel(connection, &format!("{host}:{port}"), "").await.unwrap();
            exchange(jail.tls_through(tunnel, host).await.unwrap(), &head(path)).await
        }
    };
    let record = jail.log.nth(1).await;
    let status = answer.lines().next().unwrap_or_default().to_owned();
    (gist(&record), record.rule, status, jail.world.seen.requests())
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asks for a tunnel; the whole answer if it is refused.
async fn tunnel(mut stream: TcpStream, to: &str, more: &str) -> Result<TcpStream, String> {
    let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    if head.starts_with("HTTP/1.1 200 ") {
        Ok(stream)
    } else {
        Err(head)
    }
}

/// The same request by all ways; the log must say the same of each, the client see the same, and as much get through.
#[track_caller]
fn same(method: &str, url: &str, more: &str, expected: &str) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    let line = (method.to_owned(), url.to_owned(), more.to_owned(), expected.to_owned());
    async move {
        let (method, url, more, expected) = line;
        let steered = ask(Way::Steered, &method, &url, &more).await;
        assert_eq!(steered.0, expected, "{place}");
        for way in [Way::Explicit, Way::Unwrapped] {
            assert_eq!(
                ask(way, &method, &url, &more).await,
                steered,
                "{way:?}: {method} {url}, {place}"
            );
        }
    }
}

// Proves: H15.
#[tokio::test]
async fn the_same_verdicts_by_every_way() {
    let get = async |url, expected| same("GET", url, "", expected).await;
    get("http://a.test/x", "Request Allow GET http://a.test/x 200 [-]").await;
    get(
        "https://a.test/%7ex?y=1",
        "Request Allow GET https://a.test/~x?y=1 200 [-]",
    )
    .await;
    get(
        "http://a.test/%73ecret",
        "Request Deny GET http://a.test/secret 403 [denied by rule]",
    )
    .await;
    get(
        "https://a.test/b/../secret",
        "Request Deny GET https://a.test/secret 403 [denied by rule]",
    )
    .await;
    get(
        "http://b.test/",
        "Request Deny GET http://b.test/ 403 [no rule matched]",
    )
    .await;
    get(
        "https://b.test/",
        "Request Deny GET https://b.test/ 403 [no rule matched]",
    )
    .await;
    get("http://b.test:8080/", "Request Allow GET http://b.test:8080/ 200 [-]").await;
    get(
        "http://b.test:8081/",
        "Request Deny GET http://b.test:8081/ 403 [no rule matched]",
    )
    .await;
    get(
        "https://bad.test/",
        "Request Allow GET https://bad.test/ 502 [certificate]",
    )
    .await;
    get(
        "http://inner.test/",
        "Request Deny GET http://inner.test/ 403 [private address]",
    )
    .await;
    get(
        "http://rebound.test/",
        "Request Deny GET http://rebound.test/ 403 [loopback address]",
    )
    .await;
    get(
        "http://dead.test/",
        "Request Allow GET http://dead.test/ 502 [connect failed]",
    )
    .await;
    get(
        "http://a.test/%00",
        "Request Deny GET http://a.test/%00 400 [malformed request]",
    )
    .await;

    let post = "Content-Length: 0\r\n";
    same(
        "POST",
        "https://b.test/up",
        post,
        "Request Allow POST https://b.test/up 200 [-]",
    )
    .await;
    same(
        "POST",
        "https://a.test/",
        post,
        "Request Deny POST https://a.test/ 403 [no rule matched]",
    )
    .await;
    same(
        "post",
        "https://b.test/up",
        post,
        "Refused Deny post https://b.test/up 400 [malformed request: method]",
    )
    .await;
    let other = "Host: b.test\r\n";
    same(
        "GET",
        "https://a.test/",
        other,
        "Request Deny GET https://b.test/ 421 [host mismatch]",
    )
    .await;
    let twice = "Host: a.test\r\nHost: a.test\r\n";
    same(
        "GET",
        "https://a.test/",
        twice,
        "Refused Deny GET https://a.test/ 400 [malformed request: two hosts]",
    )
    .await;
}

/// The head of one refused request, what it is answered, and what the log says of it.
async fn refused(way: Way, head: &str, status: u16, reason: &str) {
    let jail = jail(way).await;
    let answer = exchange(
        jail.connect("192.0.2.9:3128").await,
        &format!("{head}\r\nConnection: close\r\n\r\n"),
    )
    .await;
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{way:?} {head}: {answer}"
    );
    let record = jail.log.nth(1).await;
    assert_eq!(record.reason.as_deref(), Some(reason), "{way:?} {head}");
    assert_eq!(jail.world.seen.connections(), 0, "{way:?} {head}");
}

// Proves: H02, H07.
#[tokio::test]
async fn what_could_be_read_in_two_ways() {
    for way in [Way::Explicit, Way::Unwrapped] {
        let check = async |head, status, reason| refused(way, head, status, reason).await;
        check("GET http://a.test/ HTTP/1.1\r\nHost: b.test", 421, "host mismatch").await;
        check("GET http://a.test:81/ HTTP/1.1\r\nHost: a.test", 421, "host mismatch").await;
        check("GET http://a.test/ HTTP/1.1", 400, "malformed request").await;
        check(
            "GET http://u@a.test/ HTTP/1.1\r\nHost: u@a.test",
            400,
            "malformed request",
        )
        .await;
        check(
            "GET http://a.test:080/ HTTP/1.1\r\nHost: a.test:080",
            400,
            "malformed request",
        )
        .await;
        check("CONNECT a.test:443 HTTP/1.1\r\nHost: b.test:443", 421, "host mismatch").await;
        check("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:80", 421, "host mismatch").await;
        check("CONNECT a.test:443 HTTP/1.1", 400, "malformed request").await;
        check("CONNECT a.test HTTP/1.1\r\nHost: a.test", 400, "malformed request").await;
        check(
            "CONNECT u@a.test:443 HTTP/1.1\r\nHost: a.test:443",
            400,
            "malformed request",
        )
        .await;
        check("CONNECT a.test:0 HTTP/1.1\r\nHost: a.test:0", 400, "malformed request").await;
        let body = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nContent-Length: 5";
        check(body, 400, "malformed request").await;
    }
    let check = async |head, status, reason| refused(Way::Explicit, head, status, reason).await;
    check("GET https://a.test/ HTTP/1.1\r\nHost: a.test", 400, "malformed request").await;
    check("GET / HTTP/1.1\r\nHost: a.test", 400, "malformed request").await;
}

// Proves: H15, H01.
#[tokio::test]
async fn what_is_in_a_tunnel_must_be_for_its_host() {
    for way in [Way::Explicit, Way::Unwrapped] {
        let jail = jail(way).await;
        let open = async |to| tunnel(jail.connect("192.0.2.9:3128").await, to, "").await.unwrap();
        let request = |host| format!("GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");

        // Allowed by itself, but not here.
        let inside = jail.tls_through(open("b.test:443").await, "a.test").await.unwrap();
        assert!(exchange(inside, &request("a.test")).await.starts_with("HTTP/1.1 421"));
        assert!(
            exchange(open("b.test:80").await, &request("a.test"))
                .await
                .starts_with("HTTP/1.1 421")
        );
        // To an address it is as if that had been dialed.
        let inside = jail.tls_through(open("192.0.2.1:443").await, "a.test").await.unwrap();
        assert!(exchange(inside, &request("a.test")).await.starts_with("HTTP/1.1 200"));
        assert!(
            exchange(open("198.18.0.1:80").await, "GET /x HTTP/1.0\r\n\r\n")
                .await
                .starts_with("HTTP/1.0 200")
        );
        // Cleartext, not HTTP at all, and a tunnel in a tunnel.
        assert!(
            exchange(open("a.test:80").await, &request("a.test"))
                .await
                .starts_with("HTTP/1.1 200")
        );
        assert_eq!(exchange(open("a.test:22").await, "SSH-2.0-x\r\n").await, "");
        let nested = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nConnection: close\r\n\r\n";
        assert!(
            exchange(open("a.test:443").await, nested)
                .await
                .starts_with("HTTP/1.1 405")
        );
        drop(open("a.test:443").await);

        let mut gists = Vec::new();
        for nth in 1..=8 {
            gists.push(gist(&jail.log.nth(nth).await));
        }
        let expected = [
            "Request Deny GET https://a.test/x 421 [host mismatch]",
            "Request Deny GET http://a.test/x 421 [host mismatch]",
            "Request Allow GET https://a.test/x 200 [-]",
            "Request Allow GET http://a.test/x 200 [-]",
            "Request Allow GET http://a.test/x 200 [-]",
            "Refused Deny CONNECT a.test:22 - [not http: ssh]",
            "Request Deny CONNECT a.test:443 405 [connect]",
            "Unused - CONNECT a.test:443 - [the client left]",
        ];
        assert_eq!(gists, expected, "{way:?}");
        assert_eq!(jail.world.seen.requests(), 3);
    }
}

#[tokio::test]
async fn without_interception_the_tunnel_is_judged() {
    let rules = [r"allow: ^https://a\.test/", r"allow: ^http://b\.test/"];
    for explicit in [true, false] {
        let jail = Jail::with(&rules, |config| {
            config.intercept_tls = false;
            if explicit {
                config.clients = Clients::Explicit(ProxyAuth::Open);
            }
        })
        .await;
        let open = async |to| tunnel(jail.connect("192.0.2.9:3128").await, to, "").await;
        let refused = open("b.test:443").await.unwrap_err();
        assert!(
            refused.starts_with("HTTP/1.1 403 ") && refused.contains("x-httpjail: deny"),
            "{refused}"
        );
        assert_eq!(
            gist(&jail.log.nth(1).await),
            "Request Deny CONNECT https://b.test/ 403 [no rule matched]"
        );
        // What stands in the ClientHello cannot lead elsewhere than what was judged.
        let hello = jail.tls_through(open("a.test:443").await.unwrap(), "b.test").await;
        assert!(hello.unwrap_err().to_string().contains("AccessDenied"));
        assert_eq!(
            gist(&jail.log.nth(2).await),
            "Request Deny CONNECT https://b.test/ - [host mismatch]"
        );
        // Cleartext has verdicts of its own.
        let request = "GET /x HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n";
        let answer = exchange(open("b.test:80").await.unwrap(), request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(jail.world.seen.connections(), 1);
        // The origin's own certificate is seen: this client does not know who signed it.
        let through = jail.tls_through(open("a.test:443").await.unwrap(), "a.test").await;
        assert!(through.unwrap_err().to_string().contains("UnknownIssuer"));
        assert_eq!(jail.world.seen.connections(), 2);
    }
}

// Proves on weak: S18.
#[tokio::test]
async fn only_who_has_the_token_may_use_it() {
    let (token, secret) = Token::new().unwrap();
    let jail = Jail::with(&["allow: .*"], |config| {
        config.clients = Clients::Explicit(ProxyAuth::Token(Box::new(token)))
    })
    .await;
    let basic = |pair: String| {
        use base64::Engine;
        let coded = base64::engine::general_purpose::STANDARD.encode(pair);
        format!("Proxy-Authorization: Basic {coded}\r\n")
    };
    let good = basic(Token::credentials(&secret));
    let short = basic(Token::credentials(&secret[1..]));
    let twice = good.clone() + &good;
    let bearer = good.replace("Basic", "Bearer");
    let wrong = [
        "",
        &short,
        &twice,
        &bearer,
        &basic("httpjail:".into()),
        &basic(secret.clone()),
    ];
    for (nth, wrong) in wrong.iter().enumerate() {
        let request = format!("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n{wrong}Connection: close\r\n\r\n");
        let answer = exchange(jail.connect("192.0.2.9:80").await, &request).await;
        assert!(answer.starts_with("HTTP/1.1 407 "), "{wrong}: {answer}");
        assert!(answer.to_lowercase().contains("proxy-authenticate: basic "), "{answer}");
        let refused = tunnel(jail.connect("192.0.2.9:80").await, "a.test:443", wrong)
            .await
            .unwrap_err();
        assert!(refused.starts_with("HTTP/1.1 407 "), "{wrong}: {refused}");
        let record = jail.log.nth(2 * nth + 1).await;
        assert_eq!(
            gist(&record),
            "Request Deny GET http://a.test/ 407 [proxy authentication]"
        );
    }
    assert_eq!(jail.world.seen.connections(), 0);

    let request = format!("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n{good}Connection: close\r\n\r\n");
    let answer = exchange(jail.connect("192.0.2.9:80").await, &request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!answer.contains("authorization"), "the token went upstream: {answer}");
    let inside = tunnel(jail.connect("192.0.2.9:80").await, "a.test:443", &good)
        .await
        .unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let answer = exchange(jail.tls_through(inside, "a.test").await.unwrap(), request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
