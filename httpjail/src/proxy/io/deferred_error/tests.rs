use super::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::task::Waker;

/// A server that has closed the connection: its answer and the end can be read from when the first write fails.
struct Closed {
    answer: &'static [u8],
    how: io::ErrorKind,
    failed: bool,
    reader: Option<Waker>,
}

impl AsyncRead for Closed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.failed {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let (now, later) = self.answer.split_at(self.answer.len().min(20));
        buf.put_slice(now);
        self.answer = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Closed {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        self.failed = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Err(self.how.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> hyper::Result<Response<Incoming>> {
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let body = Full::new(Bytes::from("body"));
    client.send_request(Request::post("/").body(body).unwrap()).await
}

const LONG: Duration = Duration::from_secs(3600);

/// Whether it is TLS.
struct Sealed(bool);

/// Status and body of what a client hears; a dash for a body that breaks off, and for no answer at all.
async fn heard(answer: &'static str, how: io::ErrorKind, kept_back: Option<Sealed>) -> (String, bool) {
    let stream = Closed {
        answer: answer.as_bytes(),
        how,
        failed: false,
        reader: None,
    };
    let stream = match kept_back {
        Some(Sealed(sealed)) => DeferredWriteErrorIo::to_the_end(stream, LONG, sealed),
        None => DeferredWriteErrorIo::new(stream),
    };
    let stats = stream.stats();
    let Ok(response) = ask(stream).await else {
        return ("-".into(), stats.is_cut());
    };
    let status = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .map_or(Bytes::from("-"), |body| body.to_bytes());
    (format!("{status} {}", String::from_utf8_lossy(&body)), stats.is_cut())
}

#[tokio::test]
async fn an_answer_outlives_the_writes() {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, PermissionDenied};
    let check = async |answer, how, expected: &str| {
        assert_eq!(
            heard(answer, how, Some(Sealed(false))).await,
            (expected.into(), true),
            "{answer} {how}"
        );
        // What it is all about: hyper by itself.
        assert_eq!(heard(answer, how, None).await, ("-".into(), false), "{answer} {how}");
    };
    let known = "HTTP/1.1 413 Too Large\r\nContent-Length: 7\r\n\r\ntoo big";
    let unknown = "HTTP/1.1 413 Too Large\r\nConnection: close\r\n\r\ntoo big";
    check(known, BrokenPipe, "413 too big").await;
    check(known, ConnectionReset, "413 too big").await;
    check(unknown, BrokenPipe, "413 too big").await;
    // Nobody knows whether that was all.
    check(unknown, ConnectionReset, "413 -").await;
    // TLS does: this is how it ends where the server says so and hangs up.
    assert_eq!(
        heard(unknown, ConnectionReset, Some(Sealed(true))).await,
        ("413 too big".into(), true)
    );
    check("HTTP/1.1 413 Too", BrokenPipe, "-").await;
    check("", BrokenPipe, "-").await;
    check("", ConnectionReset, "-").await;
    assert_eq!(
        heard(known, PermissionDenied, Some(Sealed(false))).await,
        ("-".into(), false)
    );
}

/// What comes after an answer hyper does not read: only the failed write ends such a connection.
#[tokio::test]
async fn a_failed_write_is_told_in_the_end() {
    let stream = Closed {
        answer: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more, and more, and more",
        how: io::ErrorKind::BrokenPipe,
        failed: false,
        reader: None,
    };
    let stream = TokioIo::new(DeferredWriteErrorIo::to_the_end(
        stream,
        Duration::from_millis(20),
        false,
    ));
    let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post("/").body(Endless).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    assert!(connection.await.unwrap().is_err());
}

/// Who leaves in the middle of an answer takes the connection along.
#[tokio::test]
async fn an_answer_that_nobody_wants() {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{}", "a".repeat(999));
    let stream = Closed {
        answer: answer.leak().as_bytes(),
        how: io::ErrorKind::BrokenPipe,
        failed: false,
        reader: None,
    };
    let stream = DeferredWriteErrorIo::to_the_end(stream, LONG, false);
    let stats = stream.stats();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post("/").body(Endless).unwrap();
    let answer = client.send_request(request).await.unwrap();
    stats.give_up();
    drop(answer);
    assert!(connection.await.unwrap().is_err());
}

/// An upload without end.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<http_body::Frame<Bytes>>>> {
        Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(&[b'u'; 16384])))))
    }
}
