//! What hyper has read before comes first, once, and the rest by reads or by the kernel.

use super::taken_back;
use crate::proxy::io::boxed::{BoxedIo, Io};
use crate::proxy::io::deferred_error::DeferredWriteErrorIo;
use crate::proxy::io::pipes::Pipes;
use crate::proxy::io::pipes::tests::pair;
use crate::proxy::io::shared::SharedIo;
use http::{Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

const SWITCH: &str = "Connection: upgrade\r\nUpgrade: x\r\n\r\n";

/// A client's tunnel, and the client, which sent `early` with its request.
async fn downstream(early: &str) -> (BoxedIo, TcpStream) {
    let (mut client, stream) = pair().await;
    let asked = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{SWITCH}{early}");
    client.write_all(asked.as_bytes()).await.unwrap();
    let (give, taken) = oneshot::channel();
    let give = std::sync::Mutex::new(Some(give));
    let service = service_fn(|request: Request<Incoming>| {
        let give = give.lock().unwrap().take().unwrap();
        let _ = give.send(hyper::upgrade::on(request));
        async {
            let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            let response = response
                .header(header::UPGRADE, "x")
                .header(header::CONNECTION, "upgrade");
            Ok::<_, Infallible>(response.body(Empty::<Bytes>::new()).unwrap())
        }
    });
    let stream = TokioIo::new(SharedIo::new(stream).again());
    let served = hyper::server::conn::http1::Builder::new().serve_connection(stream, service);
    served.with_upgrades().await.unwrap();
    let tunnel = taken_back(taken.await.unwrap().await.unwrap());
    skip_head(&mut client).await;
    (tunnel, client)
}

/// A tunnel to a server, and the server, which sent `early` with its answer. The stream may be one of another proxy.
async fn upstream(early: &str, to_a_proxy: bool) -> (BoxedIo, TcpStream) {
    let (stream, mut server) = pair().await;
    let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{SWITCH}{early}");
    server.write_all(answer.as_bytes()).await.unwrap();
    let stream = Box::new(stream) as BoxedIo;
    let request = Request::get("/")
        .header(header::UPGRADE, "x")
        .header(header::CONNECTION, "upgrade");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let builder = hyper::client::conn::http1::Builder::new();
    let response = if to_a_proxy {
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.unwrap()
    } else {
        let stream = DeferredWriteErrorIo::to_the_end(stream, Duration::from_secs(60), false);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.unwrap()
    };
    let tunnel = taken_back(hyper::upgrade::on(response).await.unwrap());
    skip_head(&mut server).await;
    (tunnel, server)
}

async fn skip_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
}

#[tokio::test]
async fn what_was_read_before_comes_first() {
    for early in ["", "early"] {
        for (mut tunnel, mut far) in [
            downstream(early).await,
            upstream(early, false).await,
            upstream(early, true).await,
        ] {
            assert!(tunnel.is_socket());
            far.write_all(b" and late").await.unwrap();
            let mut heard = vec![0; early.len() + 9];
            // The kernel takes nothing past it.
            let mut pipe = Arc::<Pipes>::default().borrow();
            if let (Some(pipe), false) = (&mut pipe, early.is_empty()) {
                assert_eq!(poll_fn(|cx| tunnel.poll_fill(cx, pipe)).await.unwrap(), 0);
            }
            tunnel.read_exact(&mut heard).await.unwrap();
            assert_eq!(String::from_utf8(heard).unwrap(), format!("{early} and late"));
            // After it the kernel takes what there is.
            if let Some(mut pipe) = pipe {
                far.write_all(b"more").await.unwrap();
                while poll_fn(|cx| tunnel.poll_fill(cx, &mut pipe)).await.unwrap() == 0 {
                    // A read says whether there is something yet.
                    tokio::task::yield_now().await;
                }
                while !pipe.is_empty() {
                    poll_fn(|cx| tunnel.poll_drain(cx, &mut pipe)).await.unwrap();
                }
                let mut heard = [0; 4];
                far.read_exact(&mut heard).await.unwrap();
                assert_eq!(&heard, b"more");
            }
        }
    }
}
