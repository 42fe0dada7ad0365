//! The same exchange whatever version of HTTP each leg speaks.

use super::support::{Jail, text};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// A body fed by the test.
pub(super) struct Fed(mpsc::Receiver<Frame<Bytes>>);

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

pub(super) fn fed() -> (mpsc::Sender<Frame<Bytes>>, Fed) {
    let (feed, body) = mpsc::channel(1);
    (feed, Fed(body))
}

/// Client and upstream: HTTP/1 or HTTP/2. `one.test` speaks HTTP/1 only.
const LEGS: [(u8, &str); 4] = [(1, "one.test"), (1, "a.test"), (2, "one.test"), (2, "a.test")];

/// A request over TLS by a client of `version`.
async fn send<B>(jail: &Jail, version: u8, host: &str, request: http::request::Builder, body: B) -> Response<Incoming>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if version == 2 {
        let stream = jail.try_tls("192.0.2.1:443", host, &["h2"]).await.unwrap();
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let request = request.body(body).unwrap();
        let what = format!("{} {}", request.method(), request.uri());
        return client
            .send_request(request)
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    let stream = jail.try_tls("192.0.2.1:443", host, &["http/1.1"]).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = request.header("host", host).body(body).unwrap();
    client.send_request(request).await.unwrap()
}

fn to(host: &str, method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("https://{host}{path}"))
}

/// Each piece comes back before the next is sent, with trailers at the end: server-sent events and streams of gRPC both
/// ways need no more.
#[tokio::test]
async fn in_step_with_trailers() {
    for (version, host) in LEGS {
        let jail = Jail::new(&["allow: .*"]).await;
        let (feed, body) = fed();
        let request = to(host, Method::POST, "/echo")
            .header("te", "trailers")
            .header("trailer", "x-sum");
        feed.send(Frame::data(Bytes::from("one"))).await.unwrap();
        let mut response = send(&jail, version, host, request, body).await;
        let mut next = async || response.body_mut().frame().await.map(Result::unwrap);
        assert_eq!(next().await.unwrap().into_data().unwrap(), "one", "{version} {host}");
        for piece in ["two", "three"] {
            feed.send(Frame::data(Bytes::from(piece))).await.unwrap();
            assert_eq!(next().await.unwrap().into_data().unwrap(), piece, "{version} {host}");
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "42".parse().unwrap());
        feed.send(Frame::trailers(trailers.clone())).await.unwrap();
        drop(feed);
        assert_eq!(
            next().await.unwrap().into_trailers().unwrap(),
            trailers,
            "{version} {host}"
        );
        assert!(next().await.is_none());
        let record = jail.log.nth(1).await;
        assert_eq!(
            (record.bytes_in, record.bytes_out, record.reason),
            (Some(11), Some(11), None),
            "{version} {host}"
        );
    }
}

/// A body has no meaning there (RFC 9110 section 9.3.1), but some servers give it one (searches, bulk deletions).
#[tokio::test]
async fn bodies_where_none_is_looked_for() {
    for (version, host) in LEGS {
        for method in [Method::GET, Method::DELETE, Method::OPTIONS] {
            let jail = Jail::new(&["allow: .*"]).await;
            let what = format!("{method} {version} {host}");
            let known = Full::from("known");
            let response = send(&jail, version, host, to(host, method.clone(), "/echo"), known).await;
            assert_eq!(text(response).await, (200, "known".into()), "{what}");

            let (feed, body) = fed();
            feed.send(Frame::data(Bytes::from("unknown"))).await.unwrap();
            drop(feed);
            let mut request = to(host, method, "/echo");
            if version == 1 {
                // Unasked, hyper's client drops the body of a GET.
                request = request.header("transfer-encoding", "chunked");
            }
            let response = send(&jail, version, host, request, body).await;
            assert_eq!(text(response).await, (200, "unknown".into()), "{what}");
        }
    }
}

#[tokio::test]
async fn heads_ranges_and_trailers_only() {
    for (version, host) in LEGS {
        let jail = Jail::new(&["deny: /no", "allow: .*"]).await;
        let empty = Full::<Bytes>::default;
        let response = send(&jail, version, host, to(host, Method::HEAD, "/range"), empty()).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-length"]),
            (206, &"4".parse().unwrap())
        );
        assert_eq!(text(response).await.1, "", "{version} {host}");

        let range = to(host, Method::GET, "/range").header("range", "bytes=1-4");
        let response = send(&jail, version, host, range, empty()).await;
        assert_eq!(response.headers()["content-range"], "bytes=1-4");
        assert_eq!(text(response).await, (206, "part".into()), "{version} {host}");

        let response = send(&jail, version, host, to(host, Method::HEAD, "/no"), empty()).await;
        assert_eq!(response.status(), 403);
        assert_eq!(text(response).await.1, "", "{version} {host}");

        let response = send(&jail, version, host, to(host, Method::POST, "/grpc-fails"), empty()).await;
        assert_eq!(response.headers()["grpc-status"], "5");
        assert_eq!(text(response).await, (200, String::new()), "{version} {host}");
        assert_eq!(jail.log.nth(4).await.reason, None);
    }
}

/// What a stream of HTTP/2 owes the log it gives also when the jail ends.
#[tokio::test]
async fn streams_that_the_shutdown_cuts_are_recorded() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut jail = Jail::with(&["allow: .*"], |config| {
        config.limits.grace = std::time::Duration::from_millis(10)
    })
    .await;
    let running = jail.serve_until(async {
        let _ = stopped.await;
    });
    let mut response = send(
        &jail,
        2,
        "a.test",
        to("a.test", Method::GET, "/endless"),
        Full::<Bytes>::default(),
    )
    .await;
    response.body_mut().frame().await.unwrap().unwrap();
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(jail.log.count(), 1);
    assert_eq!(jail.log.nth(1).await.reason.as_deref(), Some("cut short"));
}
