use super::*;

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    let mut headers = HeaderMap::new();
    for (name, value) in lines.iter().map(line) {
        headers.append(name, value);
    }
    headers
}

/// With the order, which is no part of the equality of maps.
#[track_caller]
fn same(headers: &HeaderMap, expected: &[(&str, &str)]) {
    let found: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(found, expected);
}

#[track_caller]
fn check(before: &[(&str, &str)], after: &[(&str, &str)]) {
    let mut headers = map(before);
    clean_request(&mut headers, None);
    same(&headers, after);
}

// Proves: H16, H17.
#[test]
fn what_ends_at_the_proxy() {
    check(&[("accept", "a"), ("x-own", "b")], &[("accept", "a"), ("x-own", "b")]);
    check(
        &[("connection", "keep-alive, X-Own"), ("x-own", "b"), ("accept", "a")],
        &[("accept", "a")],
    );
    check(&[("connection", "authorization"), ("authorization", "x")], &[]);
    check(&[("te", "gzip, Trailers"), ("connection", "te")], &[("te", "trailers")]);
    check(&[("te", "gzip")], &[]);
    check(
        &[
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("connection", "upgrade, http2-settings"),
        ],
        &[],
    );
    check(
        &[
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "keep-alive"),
            ("keep-alive", "1"),
        ],
        &[],
    );
    check(
        &[
            ("x-http-method-override", "DELETE"),
            ("x-method-override", "PUT"),
            ("x-http-method", "PUT"),
        ],
        &[],
    );
    check(
        &[
            ("x_http_method_override", "DELETE"),
            ("x-original-url", "/admin"),
            ("x_rewrite-url", "/admin"),
            ("x-original-uri", "kept"),
            ("content_length", "5"),
            ("transfer_encoding", "chunked"),
        ],
        &[("x-original-uri", "kept")],
    );
    check(
        &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")],
        &[("cookie", "a=1; b=2; c=3")],
    );
    check(
        &[("cookie", ""), ("cookie", "a=1"), ("cookie", "")],
        &[("cookie", "a=1")],
    );
    check(&[("cookie", ""), ("cookie", "")], &[("cookie", "")]);
    check(&[("trailer", "grpc-status")], &[("trailer", "grpc-status")]);
}

// Proves: S06.
#[test]
fn what_a_client_never_sees() {
    let mut headers = map(&[
        ("alt-svc", "h3=\":443\""),
        ("connection", "x-a"),
        ("x-a", "1"),
        ("etag", "e"),
    ]);
    clean_response(&mut headers);
    same(&headers, &[("etag", "e")]);
}

#[test]
fn what_goes_swaps_nothing() {
    check(
        &[
            ("host", "a.test"),
            ("connection", "keep-alive, x-own"),
            ("x-one", "1"),
            ("te", "trailers"),
            ("x-own", "x"),
            ("x-two", "2"),
            ("expect", "100-continue"),
            ("x-one", "3"),
            ("cookie", "a=1"),
            ("x-three", "4"),
            ("cookie", "b=2"),
            ("content-length", "5"),
            ("x-last", "6"),
        ],
        &[
            ("host", "a.test"),
            ("x-one", "1"),
            ("x-one", "3"),
            ("te", "trailers"),
            ("x-two", "2"),
            ("cookie", "a=1; b=2"),
            ("x-three", "4"),
            ("x-last", "6"),
        ],
    );
    let mut headers = map(&[
        ("x-a", "1"),
        ("content-length", "7"),
        ("connection", "close"),
        ("x-b", "2"),
    ]);
    clean_request(&mut headers, Some(5));
    same(&headers, &[("x-a", "1"), ("content-length", "5"), ("x-b", "2")]);
    name_host(&mut headers, HeaderValue::from_static("a.test"));
    name_host(&mut headers, HeaderValue::from_static("b.test"));
    same(
        &headers,
        &[("host", "b.test"), ("x-a", "1"), ("content-length", "5"), ("x-b", "2")],
    );
    let mut many = HeaderMap::new();
    for number in 0..300 {
        let name: HeaderName = format!("x-{}", number % 200).parse().unwrap();
        many.append(name, number.into());
    }
    let before: Vec<HeaderName> = many.keys().cloned().collect();
    many.append(header::CONNECTION, HeaderValue::from_static("x-0, x-77"));
    clean_response(&mut many);
    let after: Vec<HeaderName> = before
        .into_iter()
        .filter(|name| name != "x-0" && name != "x-77")
        .collect();
    assert_eq!(many.keys().cloned().collect::<Vec<_>>(), after);
    assert_eq!(many.len(), 296);
}
