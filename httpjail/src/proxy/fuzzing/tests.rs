use super::*;

/// What the fuzzers have found worth keeping.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        // Shown if what follows panics.
        println!("{}", path.display());
        run(&std::fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 10, "{count} in {}", folder.display());
}

// Proves: H02, H07, H08, H11, H12, H13.
#[test]
fn the_corpus_of_http1() {
    replay("http1", http1);
}

// Proves: H09.
#[test]
fn the_corpus_of_http2() {
    replay("http2", http2);
}

// Proves: T03, T09.
#[test]
fn the_corpus_of_hello() {
    replay("hello", hello);
}

/// A fuzzer that reads nothing finds nothing.
#[test]
fn requests_come_through() {
    let read = |said, wire| block_on(served(wire, said));
    let one = "POST /x/../y HTTP/1.1\r\nHost: A.test\r\nContent-Length: 2\r\nX: y\r\n\r\nab";
    let all = read(Said::Http1(one.repeat(2).into()), UpstreamProtocol::Http1);
    assert_eq!(all.len(), 2);
    assert_eq!(all[1].target.as_ref().unwrap().to_string(), "POST http://a.test/y");
    assert_eq!((&*all[1].body, all[1].fields.len()), (&b"ab"[..], 1));
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", "/y?z"),
        ("x", "y"),
    ];
    let request: Vec<(Vec<u8>, Vec<u8>)> = fields.map(|(name, value)| (name.into(), value.into())).into();
    let all = read(Said::Http2(frames(&[request.clone(), request])), UpstreamProtocol::Tls);
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].target.as_ref().unwrap().to_string(), "GET https://a.test/y?z");
    http1(one.as_bytes());
    http2(b":method\tGET\n:scheme\thttps\n:authority\ta.test\n:path\t/");
}
