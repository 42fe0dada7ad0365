use super::*;

/// Follows `bytes` as a connection brings them, in pieces of every size: what passed, and the fault after it.
#[track_caller]
fn check(bytes: impl AsRef<[u8]>, passes: usize, fault: Option<Fault>) {
    let bytes = bytes.as_ref();
    let fault = fault.map(Stop::Fault);
    for size in [bytes.len().max(1), 1, 2, 7, 64] {
        let mut framing = Framing::within(&Limits::default());
        let mut bytes = bytes.to_vec();
        let (mut passed, mut end, mut found) = (0, 0, None);
        while end < bytes.len() && found.is_none() {
            end = bytes.len().min(end + size);
            let (more, stop) = framing.follow(&mut bytes[passed..end]);
            passed += more;
            found = stop;
        }
        assert_eq!(
            (passed, &found),
            (passes, &fault),
            "{:?} by {size}",
            String::from_utf8_lossy(&bytes)
        );
    }
}

/// All of it passes.
#[track_caller]
fn whole(bytes: &str) {
    check(bytes, bytes.len(), None);
}

/// A head with these fields is refused.
#[track_caller]
fn fields(fields: &str, fault: Fault) {
    check(
        format!("POST /b HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"),
        0,
        Some(fault),
    );
}

const CHUNKED: &str = "POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A chunked body is refused after `passes` bytes.
#[track_caller]
fn chunks(body: &str, passes: usize, fault: Fault) {
    check(format!("{CHUNKED}{body}"), CHUNKED.len() + passes, Some(fault));
}

#[test]
fn requests_that_pass() {
    whole("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    whole("GET / HTTP/1.0\r\n\r\n");
    whole("GET / HTTP/1.1\r\n\r\nVERSION-CONTROL /x HTTP/1.1\r\nX-Y:\r\nX: \t \r\n\r\n");
    whole("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n\r\n\rGET / HTTP/1.1\r\n\r\n");
    whole("POST / HTTP/1.1\r\ncontent-length:\t0 \r\n\r\nGET / HTTP/1.1\r\n\r\n");
    whole(&format!(
        "{CHUNKED}3\r\nabc\r\nB;x=\"y z\"\r\n\n\n\n\n\n\n\n\n\n\n\n\r\n00\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n\r\n"
    ));
    whole(&format!("{CHUNKED}0\r\n\r\n{CHUNKED}0\r\n\r\n"));
    whole("GET /\u{e9} HTTP/1.1\r\nX: \u{e9}\r\n\r\n");
}

#[test]
fn many_fields_are_announced_once() {
    let head = |fields: usize| format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "X: y\r\n".repeat(fields - 1));
    let (few, many) = (head(3), head(4));
    let bytes = [&*few, &many, &few, &many].concat();
    let mut framing = Framing::within(&Limits::default()).pausing_above(3);
    let mut held = bytes.clone().into_bytes();
    assert_eq!(framing.follow(&mut held), (few.len(), Some(Stop::Pause)));
    assert!(!framing.is_in_body());
    assert_eq!(framing.follow(&mut held[few.len()..]), (bytes.len() - few.len(), None));
    assert_eq!(String::from_utf8(held).unwrap(), bytes.replace("host", "Host"));
}

#[test]
fn nothing_passes_before_it_is_whole() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for end in 0..head.len() {
        check(&head[..end], 0, None);
    }
    check(format!("{head}{head}GET / HT"), 2 * head.len(), None);
    check(format!("{CHUNKED}3"), CHUNKED.len(), None);
    check(format!("{CHUNKED}3\r\nab"), CHUNKED.len() + 5, None);
    check(format!("{CHUNKED}3\r\nabc\r"), CHUNKED.len() + 6, None);
    check(format!("{CHUNKED}0\r\nX: y\r\n"), CHUNKED.len() + 3, None);
}

#[test]
fn after_a_wish_nothing_passes_before_the_answer() {
    let rest = "GET / HTTP/1.1\r\n\r\n";
    for wish in [
        "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\n\r\n",
        "CONNECT a:1 HTTP/1.0\r\n\r\n",
    ] {
        check(format!("{wish}{rest}"), wish.len(), None);
        let mut framing = Framing::within(&Limits::default());
        framing.follow(&mut wish.as_bytes().to_vec());
        assert!(framing.is_waiting());
        framing.go_on();
        assert_eq!(framing.follow(&mut rest.as_bytes().to_vec()), (rest.len(), None));
    }
    // hyper grants neither.
    whole(&format!("GET / HTTP/1.0\r\nUpgrade: websocket\r\n\r\n{rest}"));
    whole(&format!(
        "GET / HTTP/1.1\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx{rest}"
    ));
}

// Proves: H07.
#[test]
fn lines() {
    use Fault::{BareLineFeed, Field, FieldValue, Folded, Method, RequestTarget, StartLine, Version};
    let start = |line: &str, fault| check(format!("{line}\r\nHost: a\r\n\r\n"), 0, Some(fault));
    start("", StartLine);
    start("GET  / HTTP/1.1", StartLine);
    start("GET / HTTP/1.1 ", StartLine);
    start("GET /", StartLine);
    start("GET /a\rHTTP/1.1", StartLine);
    start("get / HTTP/1.1", Method);
    start("G!T / HTTP/1.1", Method);
    start(" / HTTP/1.1", Method);
    start("GET /# HTTP/1.1", RequestTarget);
    start("GET /\u{7f} HTTP/1.1", RequestTarget);
    start("GET /a\tb HTTP/1.1", RequestTarget);
    start("GET / HTTP/1.2", Version);
    start("GET / HTTP/2.0", Version);
    start("GET / http/1.1", Version);
    check(b"GET http://\xff/ HTTP/1.1\r\n", 0, Some(RequestTarget));
    check("GET / HTTP/1.1\n", 0, Some(BareLineFeed));
    check("GET / HTTP/1.1\r\nHost: a\n", 0, Some(BareLineFeed));
    check("GET / HTTP/1.1\r\nHost: a\r\n\n", 0, Some(BareLineFeed));
    fields("X: y\r\n z", Folded);
    fields("\tX: y", Folded);
    fields("X", Field);
    fields(": x", Field);
    fields("X : y", Field);
    fields("X\u{e9}: y", Field);
    fields("X: y\0", FieldValue);
    fields("X: y\rZ: 1", FieldValue);
    fields("X: \u{7f}", FieldValue);
}

/// A head in which something is spelled anew is read again from its start, however it is cut.
#[track_caller]
fn respelt(bytes: &[u8], expected: &[u8]) {
    for size in [bytes.len(), 1, 2, 7] {
        let (mut framing, mut held, mut passed) = (Framing::within(&Limits::default()), Vec::new(), 0);
        for piece in bytes.chunks(size) {
            held.extend_from_slice(piece);
            loop {
                let (more, stop) = framing.follow(&mut held[passed..]);
                passed += more;
                match stop {
                    Some(Stop::Spelling(spelling)) => spelling.change(&mut held, passed),
                    Some(other) => panic!("{other:?}"),
                    None => break,
                }
            }
        }
        assert_eq!(
            String::from_utf8_lossy(&held),
            String::from_utf8_lossy(expected),
            "by {size}"
        );
        assert_eq!(passed, expected.len());
    }
}

// Proves: H04.
#[test]
fn targets_that_hyper_does_not_take() {
    let first = "GET /a HTTP/1.1\r\n\r\n";
    respelt(
        format!("{first}GET /q?s=a>\"b\" HTTP/1.1\r\nhost: a\r\n\r\n{first}").as_bytes(),
        format!("{first}GET /q?s=a%3E%22b%22 HTTP/1.1\r\nHost: a\r\n\r\n{first}").as_bytes(),
    );
    respelt(
        b"POST http://a/`\xe9 HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
        b"POST http://a/%60%E9 HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
    );
    // Too long only when it is spelled.
    let long = format!("GET /{} HTTP/1.1\r\n", ">".repeat(Limits::default().head / 2));
    check(long, 0, Some(Fault::TooLarge));
}

/// A server that knows one spelling of the fields that frame and route finds them.
// Proves: H07.
#[test]
fn framing_fields_have_one_spelling() {
    respelt(
        b"POST / HTTP/1.1\r\nhOST: a\r\ncontent-length: 0\r\nX-oDD: hOST\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nX-oDD: hOST\r\n\r\n",
    );
    respelt(
        b"POST / HTTP/1.1\r\nTRANSFER-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
}

/// What is wrong already is refused already, whatever may come after it.
// Proves: H01, H03, H07.
#[test]
fn hosts() {
    use Fault::TwoHosts;
    check("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n", 0, Some(TwoHosts));
    check(
        "GET / HTTP/1.0\r\nHost: a\r\nX: y\r\nHost: b\r\nX: no en",
        0,
        Some(TwoHosts),
    );
    check("GET / HTTP/1.1\r\nHost: a\r\nHosts: a\r\nX: no en", 0, None);
    whole("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n");
}

// Proves: H07.
#[test]
fn lengths() {
    use Fault::{Coding, Length, LookAlike, TraceBody, TwoLengths};
    for bad in [
        "+3",
        "-3",
        "0x3",
        "03",
        "",
        "3,3",
        "3 0",
        "3.0",
        "1234567890123456789",
        "\u{b}3",
    ] {
        let fault = if bad.contains('\u{b}') {
            Fault::FieldValue
        } else {
            Length
        };
        fields(&format!("Content-Length: {bad}"), fault);
    }
    fields("Content-Length: 3\r\ncontent-length: 3", TwoLengths);
    fields("Content-Length: 3\r\nTransfer-Encoding: chunked", TwoLengths);
    fields("Transfer-Encoding: chunked\r\nContent-Length: 0", TwoLengths);
    fields("Content_Length: 3", LookAlike);
    fields("Transfer_Encoding: chunked", LookAlike);
    for bad in [
        "identity",
        "identity, chunked",
        "chunked, identity",
        "gzip, chunked",
        "",
        "chunked;q=1",
        "xchunked",
    ] {
        fields(&format!("Transfer-Encoding: {bad}"), Coding);
    }
    fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Coding);
    check("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 0, Some(Coding));
    check("TRACE / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", 0, Some(TraceBody));
    whole("TRACE / HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
}

// Proves: H07.
#[test]
fn chunk_lines() {
    use Fault::{BareLineFeed, Chunk, Extension, Folded, Trailer};
    for bad in ["0x3", "-3", "", "3 ", "g", "1234567890123"] {
        chunks(&format!("{bad}\r\nabc\r\n"), 0, Chunk);
    }
    chunks("3\nabc\r\n", 0, BareLineFeed);
    chunks("3;a\rb\r\n", 0, Extension);
    chunks(&format!("3;{}\r\n", "a".repeat(300)), 0, Extension);
    let line = format!("1;{}\r\nx\r\n", "a".repeat(200));
    let fits = EXTENSIONS_MAX / 201;
    chunks(&line.repeat(fits + 1), fits * line.len(), Extension);
    whole(&format!(
        "{CHUNKED}{0}0\r\n\r\n{CHUNKED}{0}0\r\n\r\n",
        line.repeat(fits)
    ));
    chunks("3\r\nabcd\r\n", 6, Chunk);
    chunks("3\r\nabc\n0\r\n", 6, Chunk);
    chunks("0\r\nHost: b\r\n\r\n", 3, Trailer);
    chunks("0\r\ncontent_length: 1\r\n\r\n", 3, Trailer);
    chunks("0\r\nX: y\r\n z\r\n\r\n", 3, Folded);
    chunks("0\r\nX: y\n\r\n", 3, BareLineFeed);
}

// Proves: D02.
#[test]
fn bounds() {
    let head = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n");
    whole(&head(&"X: y\r\n".repeat(Limits::default().fields)));
    check(
        head(&"X: y\r\n".repeat(Limits::default().fields + 1)),
        0,
        Some(Fault::TooLarge),
    );
    whole(&head(&format!("X: {}\r\n", "y".repeat(Limits::default().head - 50))));
    check(
        head(&format!("X: {}\r\n", "y".repeat(Limits::default().head))),
        0,
        Some(Fault::TooLarge),
    );
    // Also without any end in sight.
    check("G".repeat(Limits::default().head + 1), 0, Some(Fault::TooLarge));
    let trailers = CHUNKED.len() + 3;
    check(
        format!("{CHUNKED}0\r\n{}", "X: y\r\n".repeat(Limits::default().fields + 1)),
        trailers,
        Some(Fault::TooLarge),
    );
}

/// Pieces of heads and bodies, good and bad, in any order.
const PIECES: [&str; 18] = [
    "GET / HTTP/1.1\r\n",
    "POST / HTTP/1.0\r\n",
    "Host: a\r\n",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Upgrade: x\r\n",
    "\r\n",
    "\n",
    "\r",
    "abc",
    "3\r\n",
    "3;x=y\r\n",
    "0\r\n",
    " ",
    ":",
    "\0",
    "X: y\r\n",
    "\u{e9}",
];

proptest::proptest! {
    /// However the bytes are cut, the same of them pass, and the same fault comes after.
    #[test]
    fn cuts_change_nothing(pieces in proptest::collection::vec(0..PIECES.len(), 0..40)) {
        let text: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        let mut framing = Framing::within(&Limits::default());
        let (passes, stop) = framing.follow(&mut text.clone().into_bytes());
        let fault = match stop {
            Some(Stop::Fault(fault)) => Some(fault),
            _ => None,
        };
        check(&text, passes, fault);
    }
}
