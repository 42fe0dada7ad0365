//! HTTP/2, both legs, frame by frame: servers that take back what they offered, clients that do what none should.
//!
//! Whatever a client does costs its own connection at most: each flood has a bystander on another, who is served
//! meanwhile.

use super::support::Jail;
use super::world::World;
use bytes::Bytes;
use http::{Method, Request, Response};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a server does with a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
enum With {
    Answer,
    /// REFUSED_STREAM.
    Refuse,
    /// Another reset: it may have been acted on.
    Cancel,
    /// So many events of a dozen bytes, at once.
    Events(usize),
    /// Nothing: the connection ends.
    HangUp,
    /// A whole answer, and a reset: nothing more of the upload is wanted (RFC 9113 section 8.1).
    AnswerEarly,
    /// An answer that does not end by itself.
    AnswerForEver,
}

/// A server of HTTP/2 in cleartext at port 3128, which treats the nth stream as `script` says, and answers those after
/// it.
async fn server(world: &Arc<World>, streams_at_a_time: u32, script: &'static [With]) -> Arc<Server> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.parent.set(listener.local_addr().unwrap()).unwrap();
    let server = Arc::new(Server::default());
    let this = server.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            this.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(this.clone().serve(stream, streams_at_a_time, script));
        }
    });
    server
}

#[derive(Default)]
struct Server {
    connections: AtomicUsize,
    streams: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Server {
    async fn serve(self: Arc<Self>, stream: TcpStream, streams_at_a_time: u32, script: &'static [With]) {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(streams_at_a_time);
        let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
        let here = Arc::new(AtomicUsize::new(0));
        let mut held = Vec::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let nth = self.streams.fetch_add(1, Ordering::SeqCst);
            match script.get(nth).copied().unwrap_or(With::Answer) {
                With::Refuse => respond.send_reset(h2::Reason::REFUSED_STREAM),
                With::Cancel => respond.send_reset(h2::Reason::INTERNAL_ERROR),
                With::Events(count) => {
                    let mut body = respond.send_response(Response::new(()), false).unwrap();
                    for number in 0..count {
                        let event = format!("data: {number:04}\n\n").into();
                        body.send_data(event, number + 1 == count).unwrap();
                    }
                }
                With::HangUp => return,
                With::AnswerEarly => {
                    let mut body = respond.send_response(Response::new(()), false).unwrap();
                    // The reset is h2's own, after this: nobody reads the request's body.
                    body.send_data(Bytes::from_static(b"done"), true).unwrap();
                }
                With::AnswerForEver => held.push(respond.send_response(Response::new(()), false).unwrap()),
                With::Answer => {
                    let (this, here) = (self.clone(), here.clone());
                    tokio::spawn(async move {
                        let now = here.fetch_add(1, Ordering::SeqCst) + 1;
                        this.most_at_once.fetch_max(now, Ordering::SeqCst);
                        this.at_once.fetch_add(1, Ordering::SeqCst);
                        while request.uri().path() == "/together" && this.at_once.load(Ordering::SeqCst) < 3 {
                            tokio::task::yield_now().await;
                        }
                        // Before the client can know that there is room again.
                        here.fetch_sub(1, Ordering::SeqCst);
                        let mut body = respond.send_response(Response::new(()), false).unwrap();
                        body.send_data(Bytes::from_static(b"done"), true).unwrap();
                    });
                }
            }
            if request_says_goodbye(nth, script) {
                connection.graceful_shutdown();
            }
        }
    }
}

fn request_says_goodbye(nth: usize, script: &[With]) -> bool {
    script.is_empty() && nth % 2 == 1
}

/// A client of HTTP/2 in cleartext, steered to that server.
async fn client(jail: &Jail) -> h2::client::SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(jail.connect("192.0.2.1:3128").await)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

fn request(method: Method, path: &str) -> Request<()> {
    let uri = format!("http://a.test:3128{path}");
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

/// What [`ask`] tells of a stream that was refused.
const REFUSED: u16 = 0;

/// The status of the answer to a request.
async fn ask(client: &h2::client::SendRequest<Bytes>, method: Method, body: &'static str) -> u16 {
    let mut client = client.clone().ready().await.unwrap();
    let (answer, mut send) = client.send_request(request(method, "/"), body.is_empty()).unwrap();
    if !body.is_empty() {
        send.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
    }
    match answer.await {
        Err(error) if error.reason() == Some(h2::Reason::REFUSED_STREAM) => REFUSED,
        answer => answer.unwrap().status().as_u16(),
    }
}

/// What a server says it has not acted on is sent again, or sent back; what it may have acted on is not, but for
/// methods where twice is once.
#[tokio::test]
async fn what_is_sent_again() {
    use With::{Cancel, HangUp, Refuse};
    let check = async |script: &'static [With], method: Method, body: &'static str, status: u16, streams: usize| {
        let jail = Jail::new(&["allow: .*"]).await;
        let server = server(&jail.world, 100, script).await;
        let client = client(&jail).await;
        assert_eq!(ask(&client, method.clone(), body).await, status, "{script:?} {method}");
        assert_eq!(server.streams.load(Ordering::SeqCst), streams, "{script:?} {method}");
    };
    check(&[Refuse], Method::GET, "", 200, 2).await;
    check(&[Refuse], Method::POST, "", 200, 2).await;
    check(&[Refuse], Method::POST, "body", 200, 2).await;
    check(&[Refuse, Refuse], Method::GET, "", 200, 3).await;
    check(&[Refuse, Refuse, Refuse], Method::GET, "", REFUSED, 3).await;
    check(&[Refuse, Refuse, Refuse], Method::POST, "body", REFUSED, 3).await;
    check(&[Cancel], Method::GET, "", 502, 1).await;
    check(&[Cancel], Method::POST, "body", 502, 1).await;
    check(&[Cancel], Method::POST, "", 502, 1).await;
    check(&[HangUp], Method::GET, "", 502, 1).await;
}

/// On a connection that has served before: one that ends without a word was stale, one that says something was not.
#[tokio::test]
async fn what_is_sent_again_after_others() {
    use With::{Answer, Cancel, HangUp, Refuse};
    let check = async |script: &'static [With], method: Method, body: &'static str, status: u16, streams: usize| {
        let jail = Jail::new(&["allow: .*"]).await;
        let server = server(&jail.world, 100, script).await;
        let client = client(&jail).await;
        assert_eq!(ask(&client, Method::GET, "").await, 200);
        assert_eq!(ask(&client, method.clone(), body).await, status, "{script:?} {method}");
        assert_eq!(server.streams.load(Ordering::SeqCst), streams, "{script:?} {method}");
    };
    check(&[Answer, Refuse], Method::POST, "", 200, 3).await;
    check(&[Answer, HangUp], Method::GET, "", 200, 3).await;
    check(&[Answer, HangUp], Method::PUT, "body", 200, 3).await;
    check(&[Answer, HangUp], Method::POST, "", 502, 2).await;
    check(&[Answer, HangUp], Method::POST, "body", 502, 2).await;
    check(&[Answer, Cancel], Method::GET, "", 502, 2).await;
}

/// The answer that came whole is what counts, not the reset after it.
#[tokio::test]
async fn an_answer_that_does_not_wait_for_the_upload() {
    let jail = Jail::new(&["allow: .*"]).await;
    server(&jail.world, 100, &[With::AnswerEarly]).await;
    let mut client = client(&jail).await.ready().await.unwrap();
    let (answer, mut send) = client.send_request(request(Method::POST, "/"), false).unwrap();
    send.send_data(Bytes::from_static(b"a part of it"), false).unwrap();
    let mut answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.body_mut().data().await.unwrap().unwrap(), "done");
}

/// What still comes of an answer that nobody wants is not to be the end of other requests.
#[tokio::test]
async fn a_connection_on_which_an_answer_was_broken_off() {
    for (script, connections) in [(&[With::AnswerForEver][..], 2), (&[With::Answer], 1)] {
        let jail = Jail::new(&["allow: .*"]).await;
        let server = server(&jail.world, 100, script).await;
        let mut client = client(&jail).await.ready().await.unwrap();
        let answer = client
            .send_request(request(Method::GET, "/"), true)
            .unwrap()
            .0
            .await
            .unwrap();
        drop(answer);
        jail.log.nth(1).await;
        assert_eq!(ask(&client, Method::GET, "").await, 200);
        assert_eq!(server.connections.load(Ordering::SeqCst), connections, "{script:?}");
    }
}

/// A client that does not read small events costs those beside him nothing: all are streams of one upstream connection.
#[tokio::test]
async fn many_small_events_that_nobody_reads() {
    const COUNT: usize = 100_000;
    let jail = Jail::new(&["allow: .*"]).await;
    let server = server(&jail.world, 100, &[With::Events(COUNT)]).await;
    let slow = client(&jail).await;
    let (answer, _) = slow
        .ready()
        .await
        .unwrap()
        .send_request(request(Method::GET, "/"), true)
        .unwrap();
    let mut events = answer.await.unwrap().into_body();
    // What his windows leave room for has come; the rest waits in the proxy.
    let first = events.data().await.unwrap().unwrap();
    let other = client(&jail).await;
    for _ in 0..20 {
        assert_eq!(ask(&other, Method::POST, "word").await, 200);
    }
    let mut read = first.len();
    events.flow_control().release_capacity(first.len()).unwrap();
    while let Some(data) = events.data().await {
        let data = data.unwrap();
        read += data.len();
        events.flow_control().release_capacity(data.len()).unwrap();
    }
    assert!(read >= COUNT * 12, "{read}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

/// A server that says GOAWAY after every second request loses none.
#[tokio::test]
async fn a_server_that_goes_away() {
    let jail = Jail::new(&["allow: .*"]).await;
    let server = server(&jail.world, 100, &[]).await;
    let client = client(&jail).await;
    for _ in 0..10 {
        assert_eq!(ask(&client, Method::POST, "").await, 200);
    }
    assert_eq!(server.streams.load(Ordering::SeqCst), 10);
    assert!(server.connections.load(Ordering::SeqCst) > 1);
}

/// A server that has been unused for a while says goodbye and closes; a request may cross that on its way. What comes
/// after the goodbye's last stream was not acted on.
#[tokio::test]
async fn a_goodbye_that_crosses_a_request() {
    let goodbye = |last: u32| frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat());
    let ping = || frame(6, 0, 0, &[7; 8]);
    let cases: &[(Vec<u8>, Method, u16)] = &[
        (goodbye(1), Method::POST, 200),
        ([ping(), goodbye(1)].concat(), Method::POST, 200),
        ([goodbye(u32::MAX >> 1), goodbye(1)].concat(), Method::POST, 200),
        (goodbye(3), Method::POST, 502),
        (vec![], Method::POST, 502),
        (vec![], Method::GET, 200),
        (goodbye(u32::MAX >> 1), Method::GET, 502),
        (goodbye(3), Method::GET, 502),
        (ping(), Method::GET, 502),
    ];
    for (last_words, method, status) in cases {
        let jail = Jail::new(&["allow: .*"]).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        jail.world.parent.set(listener.local_addr().unwrap()).unwrap();
        let client = client(&jail).await;
        let server = async {
            let mut server = opened(&listener).await;
            next_frame(&mut server, HEADERS, 1).await;
            server.write_all(&frame(HEADERS, 5, 1, &[0x88])).await.unwrap();
            next_frame(&mut server, HEADERS, 3).await;
            server.write_all(last_words).await.unwrap();
            drop(server);
            let mut server = opened(&listener).await;
            next_frame(&mut server, HEADERS, 1).await;
            server.write_all(&frame(HEADERS, 5, 1, &[0x88])).await.unwrap();
            std::future::pending::<()>().await;
        };
        let asking = async {
            assert_eq!(ask(&client, Method::GET, "").await, 200);
            ask(&client, method.clone(), "").await
        };
        tokio::select! {
            answer = asking => assert_eq!(answer, *status, "{method} {last_words:?}"),
            () = server => {}
        }
    }
}

/// Other streams of a connection that gets no new ones go on in both directions, and with the last it ends.
#[tokio::test]
async fn what_else_is_on_a_connection_on_which_an_answer_was_broken_off() {
    let jail = Jail::with(&["allow: .*"], |config| config.limits.idle = Duration::from_secs(3600)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    jail.world.parent.set(listener.local_addr().unwrap()).unwrap();
    let mut client = client(&jail).await.ready().await.unwrap();
    let (lasting, mut upload) = client.send_request(request(Method::POST, "/"), false).unwrap();
    upload.send_data(Bytes::from_static(b"one "), false).unwrap();
    let mut old = opened(&listener).await;
    next_frame(&mut old, HEADERS, 1).await;
    let head = |flags: u8, stream: u32| frame(HEADERS, 4 | flags, stream, &[0x88]);
    old.write_all(&head(0, 1)).await.unwrap();
    let mut lasting = lasting.await.unwrap();

    let (broken, _) = client.send_request(request(Method::GET, "/"), true).unwrap();
    next_frame(&mut old, HEADERS, 3).await;
    old.write_all(&head(0, 3)).await.unwrap();
    drop(broken.await.unwrap());
    next_frame(&mut old, RST_STREAM, 3).await;
    let (other, _) = client.send_request(request(Method::GET, "/"), true).unwrap();
    let mut new = opened(&listener).await;
    next_frame(&mut new, HEADERS, 1).await;
    new.write_all(&head(1, 1)).await.unwrap();
    assert_eq!(other.await.unwrap().status(), 200);

    upload.send_data(Bytes::from_static(b"two"), true).unwrap();
    while next_frame(&mut old, DATA, 1).await & 1 == 0 {}
    old.write_all(&frame(DATA, 1, 1, b"all of it")).await.unwrap();
    assert_eq!(lasting.body_mut().data().await.unwrap().unwrap(), "all of it");
    assert!(lasting.body_mut().data().await.is_none());
    old.read_to_end(&mut Vec::new()).await.unwrap();
}

/// The next connection of a client of HTTP/2.
async fn opened(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
}

/// Reads to the next frame of `kind`, which is to be on `stream`; its flags.
async fn next_frame(server: &mut TcpStream, kind: u8, stream: u32) -> u8 {
    loop {
        let mut head = [0; 9];
        server.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        server.read_exact(&mut vec![0; length]).await.unwrap();
        if head[3] == kind {
            assert_eq!(head[5..], stream.to_be_bytes());
            return head[4];
        }
    }
}

/// No more streams than the server allows on one connection, and none that waits for another to end.
#[tokio::test]
async fn as_many_streams_as_the_server_allows() {
    let jail = Jail::new(&["allow: .*"]).await;
    let server = server(&jail.world, 2, &[With::Answer]).await;
    let client = client(&jail).await;
    // The first tells what is allowed.
    assert_eq!(ask(&client, Method::GET, "").await, 200);
    server.at_once.store(0, Ordering::SeqCst);
    let mut answers = Vec::new();
    for _ in 0..3 {
        let mut client = client.clone().ready().await.unwrap();
        answers.push(client.send_request(request(Method::GET, "/together"), true).unwrap().0);
    }
    for answer in answers {
        assert_eq!(answer.await.unwrap().status(), 200);
    }
    assert_eq!(server.most_at_once.load(Ordering::SeqCst), 2);
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const DATA: u8 = 0;

/// A frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET http://a.test/` or, with a path, another; without Huffman codes and the dynamic table (RFC 7541).
fn get(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend(path.as_bytes());
    block.extend(b"\x01\x06a.test");
    block
}

/// Sends as much as the proxy takes of `bytes`, and reads what it answers until it closes or the bytes are through.
/// Answers whether it closed the connection with an error, which is how a flood ends.
async fn flood(jail: &Jail, bytes: Vec<u8>) -> bool {
    let (mut read, mut write) = jail.connect("192.0.2.1:80").await.into_split();
    let writing = tokio::spawn(async move {
        // May fail: the proxy hangs up.
        let _ = write.write_all(&bytes).await;
        let _ = write.write_all(&frame(6, 0, 0, b"all sent")).await;
        write
    });
    let mut answer = Vec::new();
    let mut seen = 0;
    let closed = loop {
        match read.read_buf(&mut answer).await {
            Ok(1..) => {}
            _ => break true,
        }
        // Frame by frame, to the GOAWAY or to the answer to our last PING.
        let mut ended = None;
        while let Some(head) = answer.get(seen..seen + 9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some(payload) = answer.get(seen + 9..seen + 9 + length) else {
                break;
            };
            match (head[3], head[4]) {
                (7, _) if payload[4..8] != [0; 4] => ended = Some(true),
                (6, 1) if payload == b"all sent" => ended = Some(false),
                _ => {}
            }
            seen += 9 + length;
        }
        if let Some(ended) = ended {
            break ended;
        }
    };
    writing.abort();
    closed
}

fn opening() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// Each of these is sent whole or until the proxy hangs up; somebody else is served before, meanwhile and after.
// Proves: D03.
#[tokio::test]
async fn floods() {
    let jail = Jail::new(&[r"allow: ^http://a\.test/$", r"allow: ^http://b\.test/"]).await;
    let check = async |what: &str, bytes: Vec<u8>, ends: bool| {
        let bystander = async {
            for _ in 0..3 {
                assert_eq!(jail.get("192.0.2.2:80", "b.test", "/").await.0, 200, "{what}");
            }
        };
        let (closed, ()) = tokio::join!(flood(&jail, bytes), bystander);
        assert_eq!(closed, ends, "{what}");
        assert_eq!(jail.get("192.0.2.2:80", "b.test", "/").await.0, 200, "{what}");
    };
    let many = |count: u32, each: &dyn Fn(u32) -> Vec<u8>| [opening(), (0..count).flat_map(each).collect()].concat();
    let end = 0x4 | 0x1;

    check("nothing at all", opening(), false).await;
    check("one request", many(1, &|_| frame(HEADERS, end, 1, &get("/"))), false).await;
    // CVE-2023-44487: requests that are taken back at once, before we have seen them.
    let reset = |nth: u32| {
        let stream = 2 * nth + 1;
        [
            frame(HEADERS, end, stream, &get("/no")),
            frame(3, 0, stream, &8u32.to_be_bytes()),
        ]
        .concat()
    };
    check("rapid reset", many(10_000, &reset), true).await;
    // The other way round (CVE-2025-8671): errors that make us reset streams.
    let own = |nth: u32| {
        let stream = 2 * nth + 1;
        [frame(HEADERS, 0x4, stream, &get("/no")), frame(8, 0, stream, &[0; 4])].concat()
    };
    check("made to reset", many(10_000, &own), true).await;
    // RUSTSEC-2024-0332: a head that never ends.
    let head = [opening(), frame(HEADERS, 0x1, 1, &get("/"))].concat();
    let more = frame(9, 0, 1, &[0; 0]);
    let field = frame(9, 0, 1, &[&b"\x00\x01x\x7f\x81\x1f"[..], &[b'y'; 4222]].concat());
    check(
        "empty CONTINUATION",
        [head.clone(), more.repeat(100_000)].concat(),
        true,
    )
    .await;
    check("CONTINUATION", [head, field.repeat(1000)].concat(), true).await;
    // Small on the wire, large in memory: one long field, then a byte for each time that it comes again.
    let long = [&b"\x40\x01x\x7f\xa1\x1e"[..], &[b'y'; 4000]].concat();
    let bomb = [get("/"), long, vec![0xbe; 12_000]].concat();
    check("HPACK bomb", many(1, &|_| frame(HEADERS, end, 1, &bomb)), true).await;
    check(
        "SETTINGS",
        many(20_000, &|_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9])),
        false,
    )
    .await;
    check(
        "PING",
        many(20_000, &|nth| frame(6, 0, 0, &u64::from(nth).to_be_bytes())),
        false,
    )
    .await;
    let empty = [
        opening(),
        frame(HEADERS, 0x4, 1, &get("/")),
        frame(0, 0, 1, &[]).repeat(20_000),
    ]
    .concat();
    check("empty DATA", empty, true).await;
    check(
        "PRIORITY",
        many(20_000, &|nth| frame(2, 0, 2 * nth + 1, &[0, 0, 0, 0, 1])),
        false,
    )
    .await;
    check(
        "unknown frames",
        many(20_000, &|_| frame(0xbe, 0xff, 0, b"what")),
        false,
    )
    .await;
    let wide = |nth: u32| frame(HEADERS, 0x4, 2 * nth + 1, &get("/"));
    check("more streams than there may be", many(1000, &wide), true).await;
    let zero = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let stalled = |nth: u32| frame(HEADERS, end, 2 * nth + 1, &get("/"));
    check(
        "no window",
        [PREFACE.to_vec(), zero, (0..200).flat_map(stalled).collect()].concat(),
        false,
    )
    .await;
}
