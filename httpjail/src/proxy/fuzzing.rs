//! What the fuzzers drive (`fuzz/`): a client's bytes on their way to a [`Target`], and a target's way back to bytes.
//!
//! Through hyper itself, both as the server that reads and as the client that writes, over memory in place of a
//! network. Each function panics where a promise does not hold. Built for fuzzers and tests only; the tests run it on
//! the corpus.

mod input;

use self::input::{Crumbs, Silence, frames};
use crate::net::Host;
use crate::policy::Target;
use crate::proxy::downstream::detect;
use crate::proxy::downstream::detect::DetectedProtocol;
use crate::proxy::downstream::passthrough::read_server_name;
use crate::proxy::http1::framing::{Framing, Stop};
use crate::proxy::http1::headers::{clean_request, leave_out};
use crate::proxy::limits::Limits;
use crate::proxy::protocol::UpstreamProtocol;
use crate::proxy::service::outgoing::write_head;
use crate::proxy::service::target::{ConnectionContext, Destination};
use crate::proxy::upstream::http1;
use crate::sync::lock;
use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::io::Cursor;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, duplex, join, sink};
use tokio::runtime::Runtime;

/// A request as it is read, with its target, if it has one.
#[derive(Debug, PartialEq)]
struct Read {
    target: Option<Target>,
    fields: HeaderMap,
    body: Bytes,
    spelling: Spelling,
}

/// How hyper remembers the spelling of the names, which makes no request another one.
#[derive(Debug, Clone, Default)]
struct Spelling(Extensions);

impl PartialEq for Spelling {
    fn eq(&self, _: &Spelling) -> bool {
        true
    }
}

/// What a client sends, all of it.
enum Said {
    Http1(Vec<u8>),
    Http2(Vec<u8>),
}

/// The requests of an HTTP/1 client begin and end for hyper where they do for [`Framing`], and what is written for each
/// is read as that and nothing more.
pub fn http1(bytes: &[u8]) {
    let bytes = spelled(bytes);
    assert_eq!(spelled(&bytes), bytes, "{:?}", String::from_utf8_lossy(&bytes));
    let messages = messages(&bytes);
    block_on(async {
        let mut apart = Vec::new();
        for message in &messages {
            let alone = served(UpstreamProtocol::Http1, Said::Http1(message.to_vec())).await;
            assert!(alone.len() <= 1, "{alone:?} in {:?}", String::from_utf8_lossy(message));
            apart.extend(alone);
        }
        // A connection may be closed before its end.
        let together = served(UpstreamProtocol::Http1, Said::Http1(messages.concat())).await;
        assert!(apart.starts_with(&together), "{together:?}, apart {apart:?}");
        for read in apart {
            check(UpstreamProtocol::Http1, read).await;
        }
    });
}

/// The same bytes as [`Framing`] spells them.
fn spelled(bytes: &[u8]) -> Vec<u8> {
    let (mut framing, mut out, mut at) = (Framing::within(&Limits::default()), bytes.to_vec(), 0);
    loop {
        let (passed, stop) = framing.follow(&mut out[at..]);
        at += passed;
        match stop {
            Some(Stop::Spelling(spelling)) => spelling.change(&mut out, at),
            // The answer to a wish for another protocol is no.
            None if framing.is_waiting() => framing.go_on(),
            _ => return out,
        }
    }
}

/// What [`Framing`] takes for whole messages.
fn messages(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut whole, mut crumbs) = (Framing::within(&Limits::default()), Framing::within(&Limits::default()));
    let mut block = bytes.to_vec();
    let (mut passed, mut fault) = whole.follow(&mut block);
    while fault.is_none() && whole.is_waiting() {
        whole.go_on();
        let (more, found) = whole.follow(&mut block[passed..]);
        (passed, fault) = (passed + more, found);
    }
    assert_eq!(block, bytes, "spelled already");
    let mut found = Vec::new();
    let (mut start, mut at, mut end) = (0, 0, 0);
    let broken = loop {
        if end == bytes.len() {
            break None;
        }
        end += 1;
        let (more, broken) = crumbs.follow(&mut block[at..end]);
        at += more;
        if more > 0 && !crumbs.is_in_body() {
            found.push(&bytes[start..at]);
            start = at;
            crumbs.go_on();
        }
        if broken.is_some() {
            break broken;
        }
    };
    assert_eq!((at, broken), (passed, fault), "in one piece and in many");
    found
}

/// The same for field lists of HTTP/2: one field a line, name and value parted by a tab; an empty line ends a request.
pub fn http2(lists: &[u8]) {
    let mut requests = vec![Vec::new()];
    for line in lists.split(|byte| *byte == b'\n') {
        match (line.iter().position(|byte| *byte == b'\t'), requests.last_mut()) {
            (Some(tab), Some(request)) => request.push((line[..tab].to_vec(), line[tab + 1..].to_vec())),
            _ => requests.push(Vec::new()),
        }
    }
    block_on(async {
        for read in served(UpstreamProtocol::Tls, Said::Http2(frames(&requests))).await {
            check(UpstreamProtocol::Tls, read).await;
        }
    });
}

/// What the first bytes of a connection are, and the server name in them, is the same in one piece and in many.
pub fn hello(bytes: &[u8]) {
    let whole = detect::sniff(bytes);
    for end in 0..bytes.len().min(64) {
        let early = detect::sniff(&bytes[..end]);
        let same = early == whole || early == DetectedProtocol::Incomplete || whole == DetectedProtocol::Incomplete;
        // A line that is too long to be looked at whole is the parser's; its end may say otherwise.
        assert!(
            same || early == DetectedProtocol::Http1,
            "{early:?} at {end}, then {whole:?}"
        );
    }
    block_on(async {
        let mut taken = Vec::new();
        let name = read_server_name(&mut Cursor::new(bytes), &mut taken).await;
        assert!(bytes.starts_with(&taken));
        let mut pieces = Vec::new();
        let again = read_server_name(&mut Crumbs(bytes), &mut pieces).await;
        assert_eq!(name, again);
        if let Ok(Some(host)) = name {
            assert_eq!(Host::parse(&host.to_string()), Ok(host));
        }
    });
}

/// What is sent upstream for `read` is that one request, in either version.
async fn check(protocol: UpstreamProtocol, read: Read) {
    let Some(target) = &read.target else { return };
    // What is written has a field or two more, and the readers have their bound. A CONNECT is never forwarded.
    if read.fields.len() >= Limits::default().fields - 2 || *target.method() == Method::CONNECT {
        return;
    }
    let bytes = written(&read, target).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let plain = written(
        &Read {
            spelling: Spelling::default(),
            fields: read.fields.clone(),
            body: read.body.clone(),
            target: None,
        },
        target,
    )
    .await;
    assert_eq!(lower(&bytes), lower(&plain), "{text:?}");
    assert_eq!(spelled(&bytes), bytes, "{text:?}");
    assert_eq!(messages(&bytes), [&bytes], "{text:?}");
    let again = served(protocol, Said::Http1(bytes)).await;
    assert_eq!(again.as_slice(), std::slice::from_ref(&read), "{text:?}");
    let Ok(head) = write_head(target, read.fields.clone(), true) else {
        panic!("{target} can be written as HTTP/1 only");
    };
    let uri = head.uri();
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> = [
        (":method", Some(head.method().as_str())),
        (":scheme", uri.scheme_str()),
        (":authority", uri.authority().map(|authority| authority.as_str())),
        (":path", uri.path_and_query().map(|path| path.as_str())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.into(), value?.into())))
    .collect();
    let more = head.headers().iter();
    fields.extend(more.map(|(name, value)| (name.as_str().into(), value.as_bytes().into())));
    // A target in asterisk-form stands for itself in HTTP/2 too.
    let again = served(protocol, Said::Http2(frames(&[fields]))).await;
    let bodiless = Read {
        body: Bytes::new(),
        ..read
    };
    assert_eq!(again, [bodiless]);
}

/// A written request with the names of its fields in lower case, and no spaces where values are empty.
fn lower(request: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(request);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let line = |line: &str| match line.split_once(':') {
        Some((name, value)) if !name.contains(' ') => format!("{}:{}", name.to_ascii_lowercase(), value.trim_end()),
        _ => line.to_owned(),
    };
    head.lines().map(line).chain([body.to_owned()]).collect()
}

fn connection(protocol: UpstreamProtocol) -> ConnectionContext {
    let to = Destination {
        host: Host::Name("a.test".to_owned()),
        port: if protocol == UpstreamProtocol::Tls { 443 } else { 80 },
        address: None,
        named: false,
        tunnel: false,
    };
    ConnectionContext::new(to, protocol, None)
}

/// The requests in what a client said.
async fn served(protocol: UpstreamProtocol, said: Said) -> Vec<Read> {
    let connection = Arc::new(connection(protocol));
    let read = Arc::new(Mutex::new(Vec::new()));
    let into = read.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (target, into) = (connection.target_of(&request), into.clone());
        async move {
            let (head, body) = request.into_parts();
            let (mut fields, spelling) = (head.headers, Spelling(head.extensions));
            clean_request(&mut fields, None);
            leave_out(&mut fields, &[header::HOST]);
            if let Ok(body) = body.collect().await {
                let (target, body) = (target.ok(), body.to_bytes());
                let mut into = lock(&into);
                into.push(Read {
                    target,
                    fields,
                    body,
                    spelling,
                });
            }
            let mut response = Response::new(Full::<Bytes>::default());
            // Not a success, which would end HTTP on a connection that asks for a tunnel.
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            Ok::<_, Infallible>(response)
        }
    });
    // The client stays, and says no more: a request that is not whole is none.
    let io = |bytes| TokioIo::new(join(Cursor::new(bytes).chain(Silence), sink()));
    let serving = match said {
        Said::Http1(bytes) => {
            let mut builder = hyper::server::conn::http1::Builder::new();
            let limits = Limits::default();
            builder.max_headers(limits.fields).max_header_size(limits.head);
            builder.preserve_header_case(true);
            let connection = builder.serve_connection(io(bytes), service);
            tokio::spawn(async { connection.await.is_ok() })
        }
        Said::Http2(bytes) => {
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let connection = builder.serve_connection(io(bytes), service);
            tokio::spawn(async { connection.await.is_ok() })
        }
    };
    settle().await;
    serving.abort();
    std::mem::take(&mut *lock(&read))
}

/// The bytes that hyper writes for a request to an HTTP/1 upstream.
async fn written(read: &Read, target: &Target) -> Vec<u8> {
    let Ok(mut head) = write_head(target, read.fields.clone(), false) else {
        panic!("{target} cannot be written");
    };
    *head.extensions_mut() = read.spelling.0.clone();
    let (near, mut far) = duplex(1 << 20);
    let handshake = http1::builder(&Limits::default()).handshake(TokioIo::new(near)).await;
    let Ok((mut sender, connection)) = handshake else {
        return Vec::new();
    };
    let connection = tokio::spawn(connection);
    let request = head.map(|()| Full::new(read.body.clone()));
    let sending = tokio::spawn(async move { sender.send_request(request).await.map(drop) });
    settle().await;
    sending.abort();
    connection.abort();
    let mut bytes = Vec::new();
    // Memory does not fail; it ends where the aborted task drops its end.
    let _ = far.read_to_end(&mut bytes).await;
    bytes
}

/// Lets all tasks go as far as they can: nothing here waits for anything but another task.
async fn settle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    // One for each thread: [`settle`] must see only its own tasks.
    thread_local! {
        static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap_or_else(|error| panic!("no runtime: {error}"));
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

#[cfg(test)]
mod tests;
