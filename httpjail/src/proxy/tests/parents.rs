//! Another proxy on the way out: what it is told, what it never sees, and what its faults look like.

use super::support::{Jail, gist, text};
use super::world::World;
use crate::proxy::{Config, ProxyConfig};
use crate::tls::Leaves;
use http::Request;
use http_body_util::Full;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const OPEN: &str = "HTTP/1.1 200 Connection established\r\n\r\n";
const SECRET: &str = "bWU6czNjcmV0"; // me:s3cret

/// A proxy that answers as it is told, once for each connection; to [`OPEN`] it lets everything through to the origins.
struct Corp {
    answer: &'static str,
    within_tls: bool,
    heads: Mutex<Vec<String>>,
}

impl Corp {
    async fn serve(self: Arc<Self>, world: Arc<World>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        world.parent.set(listener.local_addr().unwrap()).unwrap();
        let leaves = Arc::new(Leaves::new(world.authority.clone()).unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (this, world, leaves) = (self.clone(), world.clone(), leaves.clone());
                tokio::spawn(async move {
                    if !this.within_tls {
                        return this.answer(stream, &world).await;
                    }
                    let config = leaves
                        .config_for(&crate::net::Host::parse("corp.test").unwrap())
                        .unwrap();
                    if let Ok(stream) = tokio_rustls::TlsAcceptor::from(config).accept(stream).await {
                        this.answer(stream, &world).await;
                    }
                });
            }
        });
    }

    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S, world: &World) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let text = String::from_utf8(head.clone()).unwrap();
        self.heads.lock().unwrap().push(text.clone());
        let connect = text.starts_with("CONNECT ");
        if connect || self.answer != OPEN {
            stream.write_all(self.answer.as_bytes()).await.unwrap();
        }
        if self.answer != OPEN {
            return;
        }
        let origin = if text.contains(":443 HTTP") {
            world.tls
        } else {
            world.plain
        };
        let mut origin = TcpStream::connect(origin).await.unwrap();
        if !connect {
            origin.write_all(&head).await.unwrap();
        }
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut origin).await;
    }

    /// The head of the nth request, its lines sorted behind the first, without those that do not matter.
    fn head(&self, nth: usize) -> String {
        let heads = self.heads.lock().unwrap();
        let mut lines: Vec<_> = heads[nth].trim_end().lines().collect();
        lines[1..].sort_unstable();
        lines.join("\n")
    }
}

async fn jail(rules: &[&str], answer: &'static str, variables: &[(&str, &str)]) -> (Jail, Arc<Corp>) {
    jail_with(rules, answer, variables, |_| {}).await
}

async fn jail_with(
    rules: &[&str],
    answer: &'static str,
    variables: &[(&str, &str)],
    change: impl FnOnce(&mut Config),
) -> (Jail, Arc<Corp>) {
    let of = |name: &str| variables.iter().find(|(found, _)| *found == name);
    let upstream_proxies = ProxyConfig::named_by(|name| of(name).map(|(_, value)| (*value).to_owned())).unwrap();
    let corp = Arc::new(Corp {
        answer,
        within_tls: variables.iter().any(|(_, value)| value.starts_with("https:")),
        heads: Mutex::default(),
    });
    let jail = Jail::with(rules, |config| {
        config.upstream_proxies = upstream_proxies;
        change(config);
    })
    .await;
    corp.clone().serve(jail.world.clone()).await;
    (jail, corp)
}

const BOTH: [(&str, &str); 2] = [
    ("http_proxy", "http://me:s3cret@corp.test:3128"),
    ("https_proxy", "http://me:s3cret@corp.test:3128"),
];

fn ask(host: &str, path: &str) -> Request<Full<bytes::Bytes>> {
    let request = Request::builder().uri(path).header("host", host);
    // What the client says to proxies is not said to ours.
    let request = request
        .header("proxy-authorization", "Basic Y2xpZW50")
        .header("user-agent", "ua");
    request.body(Full::default()).unwrap()
}

/// `elsewhere.test` is a name that only the other proxy can resolve.
#[tokio::test]
async fn https_goes_through_a_tunnel() {
    let (jail, corp) = jail(&["allow: ^https://elsewhere\\.test/"], OPEN, &BOTH).await;
    let mut client = jail.https1("elsewhere.test").await;
    let (status, body) = text(client.send_request(ask("elsewhere.test", "/x")).await.unwrap()).await;
    assert!(
        status == 200 && body.contains(" GET ") && !body.contains("authorization"),
        "{status} {body}"
    );
    let expected =
        format!("CONNECT elsewhere.test:443 HTTP/1.1\nHost: elsewhere.test:443\nProxy-Authorization: Basic {SECRET}");
    assert_eq!(corp.head(0), expected);
    assert_eq!(jail.world.seen.dialled(), ["10.0.0.9:3128"]);
    assert_eq!(
        gist(&jail.log.nth(1).await),
        "Request Allow GET https://elsewhere.test/x 200 [-]"
    );
    // Certificates are ours to check, tunnel or not: bad.test shows another's.
    let (jail, _) = self::jail(&["allow: .*"], OPEN, &BOTH).await;
    let mut client = jail.https1("bad.test").await;
    assert_eq!(
        text(client.send_request(ask("bad.test", "/")).await.unwrap()).await.0,
        502
    );
    // Without the other proxy the name leads nowhere.
    let twin = Jail::new(&["allow: .*"]).await;
    let mut client = twin.https1("elsewhere.test").await;
    assert_eq!(
        text(client.send_request(ask("elsewhere.test", "/x")).await.unwrap())
            .await
            .0,
        502
    );
}

#[tokio::test]
async fn http_goes_as_whole_urls_over_a_kept_connection() {
    let (jail, corp) = jail(&["allow: ^http://elsewhere\\.test(:81)?/"], OPEN, &BOTH).await;
    let mut client = jail.http1("192.0.2.1:80").await;
    let (status, _) = text(client.send_request(ask("elsewhere.test", "/x?y")).await.unwrap()).await;
    assert_eq!(status, 200);
    let expected = format!(
        "GET http://elsewhere.test/x?y HTTP/1.1\nHost: elsewhere.test\nproxy-authorization: Basic {SECRET}\nuser-agent: ua"
    );
    assert_eq!(corp.head(0), expected);
    let mut client = jail.http1("192.0.2.1:81").await;
    assert_eq!(
        text(client.send_request(ask("elsewhere.test:81", "/")).await.unwrap())
            .await
            .0,
        200
    );
    assert!(
        corp.head(1).starts_with("GET http://elsewhere.test:81/ HTTP/1.1\n"),
        "{}",
        corp.head(1)
    );
    // What is denied is nobody's business.
    let mut client = jail.http1("192.0.2.1:80").await;
    assert_eq!(
        text(client.send_request(ask("other.test", "/")).await.unwrap()).await.0,
        403
    );
    assert_eq!(jail.world.seen.dialled(), ["10.0.0.9:3128", "10.0.0.9:3128"]);
}

#[tokio::test]
async fn a_proxy_within_tls() {
    let variables = [("https_proxy", "https://me:s3cret@corp.test:3128")];
    let (jail, corp) = jail(&["allow: .*"], OPEN, &variables).await;
    let mut client = jail.https1("elsewhere.test").await;
    assert_eq!(
        text(client.send_request(ask("elsewhere.test", "/x")).await.unwrap())
            .await
            .0,
        200
    );
    assert!(
        corp.head(0).starts_with("CONNECT elsewhere.test:443"),
        "{}",
        corp.head(0)
    );
    // Who is not the proxy that was named gets no password: the certificate is for corp.test.
    let variables = [("https_proxy", "https://me:s3cret@a.test:3128")];
    let (jail, corp) = self::jail(&["allow: .*"], OPEN, &variables).await;
    let mut client = jail.https1("elsewhere.test").await;
    assert_eq!(
        text(client.send_request(ask("elsewhere.test", "/x")).await.unwrap())
            .await
            .0,
        502
    );
    assert_eq!(corp.heads.lock().unwrap().len(), 0);
}

/// Hosts that mean this machine, or its link, are never another's to reach.
#[tokio::test]
async fn what_is_ours_alone() {
    let check = async |rule: &str, host: &str, expected: &str| {
        let (jail, _) = jail(&[rule], OPEN, &BOTH).await;
        jail.get("192.0.2.9:80", host, "/").await;
        let record = jail.log.nth(1).await;
        let (status, reason) = (record.status.unwrap(), record.reason.unwrap_or_default());
        assert_eq!(
            format!("{status} {reason} {:?}", jail.world.seen.dialled()),
            expected,
            "{rule} {host}"
        );
    };
    let through = r#"200  ["10.0.0.9:3128"]"#;
    check("allow: .*", "192.0.2.1", through).await;
    check("allow: .*", "10.9.8.7", "403 private address []").await;
    check(r"allow: ^http://10\.9\.8\.7/", "10.9.8.7", through).await;
    check("allow: .*", "127.0.0.1", "403 loopback address []").await;
    check(r"allow: ^http://127\.0\.0\.1/", "127.0.0.1", r#"200  ["127.0.0.1:80"]"#).await;
    check("allow: .*", "localhost", "403 loopback address []").await;
    check("allow: ^http://localhost/", "localhost", r#"200  ["127.0.0.1:80"]"#).await;
    check("allow: .*", "a.localhost", "502 name not resolved []").await;
    check("allow: .*", "169.254.169.254", "403 link-local address []").await;
    check(
        r"allow: ^http://169\.254\.169\.254/",
        "169.254.169.254",
        r#"200  ["169.254.169.254:80"]"#,
    )
    .await;
    check("allow: .*", "[::ffff:169.254.169.254]", "403 link-local address []").await;
    check("allow: .*", "168.63.129.16", "403 metadata address []").await;
    check("allow: .*", "[64:ff9b::7f00:1]", "403 loopback address []").await;
    check("allow: .*", "metadata.google.internal", "502 name not resolved []").await;
    check("allow: .*", "0.0.0.0", "403 unspecified address []").await;
    check(
        r"allow: ^http://192\.0\.2\.77/",
        "192.0.2.77",
        r#"200  ["192.0.2.77:80"]"#,
    )
    .await;
}

#[tokio::test]
async fn what_no_proxy_names_is_reached_directly() {
    let variables = [BOTH[0], BOTH[1], ("no_proxy", "a.test,192.0.2.0/24")];
    let (jail, corp) = jail(&["allow: .*"], OPEN, &variables).await;
    for (host, dialled) in [
        ("a.test", "192.0.2.1:80"),
        ("192.0.2.2", "192.0.2.2:80"),
        ("b.test", "10.0.0.9:3128"),
    ] {
        assert_eq!(jail.get("192.0.2.9:80", host, "/").await.0, 200);
        assert_eq!(jail.world.seen.dialled().last().unwrap(), dialled);
    }
    assert_eq!(corp.heads.lock().unwrap().len(), 1);
}

/// Each fault is a 502 that names the proxy, and neither client nor log learns the password.
#[tokio::test]
async fn faults() {
    let check = async |url: &str, answer: &'static str, said: &str| {
        let variables = [("http_proxy", url), ("https_proxy", url)];
        for scheme in ["http", "https"] {
            let (jail, _) = jail(&["allow: .*"], answer, &variables).await;
            let mut client = match scheme {
                "http" => jail.http1("192.0.2.1:80").await,
                _ => jail.https1("a.test").await,
            };
            let response = client.send_request(ask("a.test", "/")).await.unwrap();
            assert!(!response.headers().contains_key("proxy-authenticate"));
            let (status, body) = text(response).await;
            assert!(
                status == 502 && body.contains(said),
                "{scheme} {url} {answer}: {status} {body}"
            );
            let record = format!("{:?}", jail.log.nth(1).await);
            assert!(!format!("{body}{record}").contains("s3cret"), "{body}{record}");
            assert!(!format!("{body}{record}").contains(SECRET), "{body}{record}");
            if said.contains("corp.test:3128") {
                assert!(record.contains("upstream proxy"), "{record}");
            }
        }
    };
    let corp = "http://me:s3cret@corp.test:3128";
    let denied =
        "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n";
    check(
        corp,
        denied,
        "the proxy corp.test:3128, which httpjail's own environment names, wants a user name",
    )
    .await;
    let denied = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\
                  Content-Length: 0\r\n\r\n";
    check(
        corp,
        denied,
        "httpjail's own environment names, wants NTLM or Negotiate",
    )
    .await;
    check("http://me:s3cret@dead.test:3128", OPEN, "proxy dead.test:3128, which").await;
    check(
        "http://me:s3cret@nowhere.test:3128",
        OPEN,
        "could not resolve the name nowhere.test",
    )
    .await;
    check(corp, "HTTP/9 what\r\n\r\n", "the proxy corp.test:3128, which").await;
    check(corp, "", "the proxy corp.test:3128, which").await;
}

#[tokio::test]
async fn a_tunnel_that_is_refused() {
    let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nsecret";
    let (jail, _) = jail(&["allow: .*"], answer, &BOTH).await;
    let mut client = jail.https1("a.test").await;
    let (status, body) = text(client.send_request(ask("a.test", "/")).await.unwrap()).await;
    assert!(
        status == 502 && body.contains("answered 403 Forbidden"),
        "{status} {body}"
    );
    assert!(!body.contains("secret"), "{body}");
    assert_eq!(
        gist(&jail.log.nth(1).await),
        "Request Allow GET https://a.test/ 502 [upstream proxy]"
    );
}

#[tokio::test]
async fn never_the_proxy_itself() {
    let url = [
        ("http_proxy", "http://127.0.0.1:3128"),
        ("https_proxy", "http://localhost:3128"),
    ];
    let itself = |config: &mut Config| config.itself = vec!["127.0.0.1:3128".parse().unwrap()];
    let (jail, corp) = jail_with(&["allow: .*"], OPEN, &url, itself).await;
    let (status, body) = jail.get("192.0.2.1:80", "a.test", "/").await;
    assert!(status == 502 && body.contains("is the proxy itself"), "{status} {body}");
    let mut client = jail.https1("a.test").await;
    assert_eq!(
        text(client.send_request(ask("a.test", "/")).await.unwrap()).await.0,
        502
    );
    assert_eq!(
        (jail.world.seen.dialled().len(), corp.heads.lock().unwrap().len()),
        (0, 0)
    );
    let (twin, _) = self::jail(&["allow: .*"], OPEN, &url).await;
    assert_eq!(twin.get("192.0.2.1:80", "a.test", "/").await.0, 200);
}

/// A WebSocket in cleartext goes through a tunnel: what follows its 101 is not the other proxy's to read.
#[tokio::test]
async fn a_websocket() {
    let (jail, corp) = jail(&["allow: .*"], OPEN, &BOTH).await;
    let mut stream = jail.connect("192.0.2.1:80").await;
    let knock = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(knock.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 101");
    assert!(
        corp.head(0).starts_with("CONNECT a.test:80 HTTP/1.1\n"),
        "{}",
        corp.head(0)
    );
}

/// TLS that is not decrypted.
#[tokio::test]
async fn without_interception() {
    let (jail, corp) = jail_with(&["allow: ^https://a\\.test/"], OPEN, &BOTH, |config| {
        config.intercept_tls = false
    })
    .await;
    let stream = jail.connect("192.0.2.1:443").await;
    let mut stream = super::support::tls(stream, &jail.world.authority, "a.test", &["http/1.1"])
        .await
        .unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    assert!(
        corp.head(0).starts_with("CONNECT a.test:443 HTTP/1.1\n"),
        "{}",
        corp.head(0)
    );
}
