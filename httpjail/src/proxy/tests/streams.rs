//! Bodies both ways: whole, in step, and cut short.

use super::support::{Jail, gist, http1_on, text};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

const A: &str = "192.0.2.1:80";

/// A body fed by the test.
struct Fed(mpsc::Receiver<Frame<Bytes>>);

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// A method that gives its body no meaning takes none away: what a server of HTTP/1 gets is what was sent.
// Proves: H24.
#[tokio::test]
async fn a_body_of_no_known_length_whatever_the_method() {
    for method in [
        http::Method::GET,
        http::Method::HEAD,
        http::Method::DELETE,
        http::Method::POST,
    ] {
        let jail = Jail::new(&["allow: .*"]).await;
        let (feed, body) = mpsc::channel(1);
        let stream = jail.try_tls("192.0.2.4:443", "one.test", &["h2"]).await.unwrap();
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut client, connection) = hyper::client::conn::http2::handshake(executor, TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method.clone())
            .uri("https://one.test/sink")
            .body(Fed(body))
            .unwrap();
        let answer = tokio::spawn(async move { client.send_request(request).await });
        feed.send(Frame::data(Bytes::from_static(b"abc"))).await.unwrap();
        drop(feed);
        let (status, body) = text(answer.await.unwrap().unwrap()).await;
        let counted = if method == http::Method::HEAD { "" } else { "3" };
        assert_eq!((status, body.as_str()), (200, counted), "{method}");
        assert_eq!(jail.log.nth(1).await.bytes_in, Some(3), "{method}");
    }
}

/// Each piece comes back before the next is sent: nothing on the way waits for the end.
#[tokio::test]
async fn in_step() {
    let jail = Jail::new(&["allow: .*"]).await;
    let (feed, body) = mpsc::channel(1);
    let stream = TokioIo::new(jail.connect(A).await);
    let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("/echo")
        .header("host", "a.test")
        .header("te", "trailers")
        .header("trailer", "x-sum, proxy-authorization, x-http-method-override");
    feed.send(Frame::data(Bytes::from("one"))).await.unwrap();
    let mut response = client.send_request(request.body(Fed(body)).unwrap()).await.unwrap();
    let mut next = async || response.body_mut().frame().await.map(Result::unwrap);
    assert_eq!(next().await.unwrap().into_data().unwrap(), "one");
    feed.send(Frame::data(Bytes::from("two"))).await.unwrap();
    assert_eq!(next().await.unwrap().into_data().unwrap(), "two");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "42".parse().unwrap());
    let mut sent = trailers.clone();
    // What does not cross the proxy in a head does not after a body either.
    for name in ["proxy-authorization", "x-http-method-override"] {
        sent.insert(name, "x".parse().unwrap());
    }
    feed.send(Frame::trailers(sent)).await.unwrap();
    drop(feed);
    assert_eq!(next().await.unwrap().into_trailers().unwrap(), trailers);
    assert!(next().await.is_none());
    let record = jail.log.nth(1).await;
    assert_eq!(
        (record.bytes_in, record.bytes_out, record.reason),
        (Some(6), Some(6), None)
    );
}

#[tokio::test]
async fn large_both_ways() {
    let jail = Jail::new(&["allow: .*"]).await;
    let bytes = Bytes::from(vec![b'x'; 8 << 20]);
    for path in ["/sink", "/echo"] {
        let request = Request::post(format!("https://a.test{path}"))
            .body(Full::new(bytes.clone()))
            .unwrap();
        let (status, body) = text(jail.https2("a.test").await.send_request(request).await.unwrap()).await;
        let right = if path == "/sink" {
            body == bytes.len().to_string()
        } else {
            body.len() == bytes.len()
        };
        assert!(status == 200 && right, "{path} {status} {}", body.len());
    }
    assert_eq!(jail.log.nth(2).await.bytes_out, Some(8 << 20));
}

/// A client that does not read stops the server, and what lies in between is bounded.
#[tokio::test]
async fn backpressure() {
    let jail = Jail::new(&["allow: .*"]).await;
    let mut stream = jail.connect(A).await;
    stream
        .write_all(b"GET /endless HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    stream.read_exact(&mut [0; 1024]).await.unwrap();
    drop(stream);
    let record = jail.log.nth(1).await;
    // Only a read-ahead of socket buffers got here; without backpressure this body has no end and neither has this
    // test.
    assert_eq!(gist(&record), "Request Allow GET http://a.test/endless 200 [cut short]");
    assert!(record.bytes_out < Some(64 << 20), "{record:?}");
}

/// Counts how much of an upload is taken from it.
struct Counted(Arc<AtomicUsize>);

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.0.fetch_add(16384, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'u'; 16384])))))
    }
}

/// An upload without end that is refused is read no further than a bound, and its client gets to read why.
#[tokio::test]
async fn refused_in_the_middle_of_an_upload() {
    let jail = Jail::new(&[]).await;
    let taken = Arc::new(AtomicUsize::new(0));
    let stream = TokioIo::new(jail.connect(A).await);
    let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("/")
        .header("host", "a.test")
        .body(Counted(taken.clone()))
        .unwrap();
    assert_eq!(text(client.send_request(request).await.unwrap()).await.0, 403);
    assert!(taken.load(Ordering::SeqCst) < 64 << 20);
    // A small one leaves the connection fit for the next request.
    let mut client = jail.http1(A).await;
    for _ in 0..2 {
        let small = Request::post("/")
            .header("host", "a.test")
            .body(Full::from(vec![b'x'; 20_000]))
            .unwrap();
        client.ready().await.unwrap();
        assert_eq!(text(client.send_request(small).await.unwrap()).await.0, 403);
    }
}

// Proves: H07.
#[tokio::test]
async fn a_body_with_two_lengths_is_no_request() {
    let jail = Jail::new(&["allow: .*"]).await;
    let one = "POST /sink HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
    assert!(jail.raw(A, one).await.starts_with("HTTP/1.1 200"));
    for bad in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, identity",
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: +1",
    ] {
        let answer = jail
            .raw(A, format!("POST /sink HTTP/1.1\r\nHost: a.test\r\n{bad}\r\n\r\nx"))
            .await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{bad}: {answer}");
    }
    assert_eq!(jail.world.seen.requests(), 1);
}

#[tokio::test]
async fn trailers_reach_http2_clients() {
    let jail = Jail::new(&["allow: .*"]).await;
    let request = Request::get("https://a.test/trailers").body(Full::default()).unwrap();
    let response = jail.https2("a.test").await.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "42");
    assert_eq!(body.to_bytes(), "body");
}

#[tokio::test]
async fn expect_continue() {
    let jail = Jail::new(&["allow: /sink"]).await;
    let ask = async |path: &str| {
        let mut stream = jail.connect(A).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        let mut rest = String::new();
        let _ = stream.write_all(b"ok").await;
        stream.read_to_string(&mut rest).await.unwrap();
        (String::from_utf8_lossy(&first).into_owned(), rest)
    };
    let (first, rest) = ask("/sink").await;
    assert!(first == "HTTP/1.1 100" && rest.ends_with("\r\n\r\n2"), "{first} {rest}");
    // What is refused is not asked for.
    assert_eq!(ask("/no").await.0, "HTTP/1.1 403");
}

#[tokio::test]
async fn http1_over_tls_keeps_its_connection() {
    let jail = Jail::new(&["allow: .*"]).await;
    let mut client = http1_on(jail.try_tls("192.0.2.1:443", "a.test", &[]).await.unwrap()).await;
    for _ in 0..3 {
        let request = Request::post("/echo")
            .header("host", "a.test")
            .body(Full::from("ping"))
            .unwrap();
        client.ready().await.unwrap();
        assert_eq!(
            text(client.send_request(request).await.unwrap()).await,
            (200, "ping".into())
        );
    }
}
