use super::*;
use crate::proxy::refusal::Kind;

fn connection(protocol: UpstreamProtocol, port: u16, tls_host: Option<&str>) -> ConnectionContext {
    let to = Destination {
        host: Host::parse("made.test").unwrap(),
        port,
        address: None,
        named: false,
        tunnel: false,
    };
    ConnectionContext::new(to, protocol, tls_host.map(|host| Host::parse(host).unwrap()))
}

fn ask(connection: &ConnectionContext, version: Version, uri: &str, hosts: &[&str]) -> Result<String, Kind> {
    let mut request = Request::builder().version(version).uri(uri);
    for host in hosts {
        request = request.header(header::HOST, *host);
    }
    let target = connection.target_of(&request.body(()).unwrap());
    target
        .map(|target| target.url().to_owned())
        .map_err(|refusal| refusal.kind)
}

#[track_caller]
fn http(uri: &str, hosts: &[&str], expected: Result<&str, Kind>) {
    let answer = ask(
        &connection(UpstreamProtocol::Http1, 80, None),
        Version::HTTP_11,
        uri,
        hosts,
    );
    assert_eq!(answer.as_deref(), expected.as_deref(), "{uri} {hosts:?}");
}

// Proves: H01.
#[test]
fn one_host() {
    http("/p?q", &["a.test"], Ok("http://a.test/p?q"));
    http("/", &["A.test:80"], Ok("http://a.test/"));
    http("/", &[], Err(Kind::Malformed));
    http("/", &["a.test", "b.test"], Err(Kind::Malformed));
    http("/", &["a.test", "a.test"], Err(Kind::Malformed));
    http("/", &[""], Err(Kind::Malformed));
    http("/", &["user@a.test"], Err(Kind::Malformed));
    http("/", &["a.test/x"], Err(Kind::Malformed));
    http("/", &["a.test, b.test"], Err(Kind::Malformed));
    http("/", &["a.test:99999"], Err(Kind::Malformed));
    http("/", &["a.test:8080"], Err(Kind::Mismatch));
    http("a.test:80", &["a.test"], Err(Kind::Malformed));
}

// Proves: H02.
#[test]
fn absolute_form() {
    http("http://a.test/p", &["a.test"], Ok("http://a.test/p"));
    http("http://A.TEST:80/p", &["a.test"], Ok("http://a.test/p"));
    http("http://a.test/p", &["b.test"], Err(Kind::Mismatch));
    http("http://a.test/p", &[""], Err(Kind::Malformed));
    http("http://a.test/p", &["a.test,b.test"], Err(Kind::Malformed));
    http("http://a.test/p", &["a.test:080"], Err(Kind::Malformed));
    http("http://a.test:81/p", &["a.test"], Err(Kind::Mismatch));
    http("http://a.test/p", &[], Err(Kind::Malformed));
    http("https://a.test/p", &["a.test"], Err(Kind::Mismatch));
    http("ftp://a.test/p", &["a.test"], Err(Kind::Mismatch));
    http("http://u@a.test/p", &["u@a.test"], Err(Kind::Malformed));
}

// Proves: H15.
#[test]
fn inside_a_tunnel() {
    let mut tunnel = connection(UpstreamProtocol::Http1, 80, None);
    tunnel.to.named = true;
    let ask_tunnel = |host| ask(&tunnel, Version::HTTP_11, "/", &[host]);
    assert_eq!(ask_tunnel("made.test"), Ok("http://made.test/".into()));
    assert_eq!(ask_tunnel("a.test"), Err(Kind::Mismatch));
}

#[test]
fn ports() {
    let odd = connection(UpstreamProtocol::Http1, 8080, None);
    let ask_odd = |host| ask(&odd, Version::HTTP_11, "/", &[host]);
    assert_eq!(ask_odd("a.test:8080"), Ok("http://a.test:8080/".into()));
    assert_eq!(ask_odd("a.test"), Ok("http://a.test:8080/".into()));
    assert_eq!(ask_odd("[2001:db8::1]"), Ok("http://[2001:db8::1]:8080/".into()));
    assert_eq!(ask_odd("a.test:80"), Err(Kind::Mismatch));
}

// Proves: H01, H09.
#[test]
fn tls_and_http2() {
    let tls = connection(UpstreamProtocol::Tls, 443, Some("a.test"));
    let ask_tls = |uri, hosts: &[&str]| ask(&tls, Version::HTTP_2, uri, hosts);
    assert_eq!(ask_tls("https://a.test/p", &[]), Ok("https://a.test/p".into()));
    assert_eq!(ask_tls("https://a.test/p", &["A.test"]), Ok("https://a.test/p".into()));
    assert_eq!(ask_tls("https://a.test/p", &["b.test"]), Err(Kind::Mismatch));
    assert_eq!(ask_tls("https://b.test/p", &[]), Err(Kind::Mismatch));
    assert_eq!(ask_tls("http://a.test/p", &[]), Err(Kind::Mismatch));
    assert_eq!(ask_tls("/p", &[]), Err(Kind::Malformed));
    for (name, value) in [("x", " "), ("x", "a "), ("x", "\ta"), ("x\"y", "a")] {
        let request = Request::builder().version(Version::HTTP_2).uri("https://a.test/");
        // As h2 reads it: the other ways to a name are stricter.
        let name = HeaderName::from_lowercase(name.as_bytes()).unwrap();
        let answer = tls.target_of(&request.header(&name, value).body(()).unwrap());
        assert_eq!(answer.unwrap_err().kind, Kind::Malformed, "{name:?}: {value:?}");
    }
}

#[test]
fn every_request_has_its_own_host() {
    let plain = connection(UpstreamProtocol::Http1, 80, None);
    let asked = ["A.test", "b.test", "a.test", "A.test", "a.test:80", "A.test:81"]
        .map(|host| ask(&plain, Version::HTTP_11, "/p", &[host]));
    let a = || Ok("http://a.test/p".to_owned());
    assert_eq!(
        asked,
        [a(), Ok("http://b.test/p".into()), a(), a(), a(), Err(Kind::Mismatch)]
    );
}

// Proves: H08.
#[test]
fn http_1_0_without_a_host() {
    let plain = connection(UpstreamProtocol::Http1, 80, None);
    assert_eq!(
        ask(&plain, Version::HTTP_10, "/p", &[]),
        Ok("http://made.test/p".into())
    );
    assert_eq!(
        ask(&plain, Version::HTTP_10, "/p", &["b.test"]),
        Ok("http://b.test/p".into())
    );
}
