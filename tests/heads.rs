//! The head of a request and of its answer, as the client and the server wrote them: names and their order, and URLs with
//! bytes in them that only some programs escape.

use httpjail_lab::{Lab, RAW_HTTP, RAW_HTTPS};

use crate::support::{Expect as _, PYTHON, have, lab};

const RULE: &str = r"allow: ^https?://ok\.test:\d+/";

/// Sends its standard input to ok.test, over TLS if the second argument says so, and prints what is answered.
const SEND: &str = "import socket, ssl, sys
connection = socket.create_connection(('ok.test', int(sys.argv[1])), 20)
if sys.argv[2] == 'tls':
    connection = ssl.create_default_context().wrap_socket(connection, server_hostname='ok.test')
connection.sendall(sys.argv[3].encode('latin-1').decode('unicode_escape').encode('latin-1'))
answer = b''
while piece := connection.recv(65536):
    answer += piece
print(answer.decode('latin-1').replace('\\r', ''), end='')";

/// What is answered to `request`, and the heads that arrived.
fn send(lab: &Lab, port: u16, tls: bool, request: &str) -> (String, Vec<String>) {
    let way = if tls { "tls" } else { "plain" };
    let outcome = lab
        .jail()
        .rule(RULE)
        .command([PYTHON, "-c", SEND, &port.to_string(), way, request])
        .run()
        .expect_code(0);
    (outcome.stdout, arrived(lab))
}

fn arrived(lab: &Lab) -> Vec<String> {
    let heads = lab.heard().raw.all().into_iter();
    heads.map(|request| request.head.replace('\r', "")).collect()
}

/// Servers and clients that know one spelling of a name find it, and those that count on the order, too.
#[test]
fn names_keep_their_spelling_and_their_order() {
    for (port, tls) in [(RAW_HTTP, false), (RAW_HTTPS, true)] {
        let lab = lab();
        let request = format!(
            "POST /x HTTP/1.1\\r\\nHost: ok.test:{port}\\r\\nUser-Agent: ua\\r\\nConnection: close, X-Own\\r\\n\
             X-API-Key: a\\r\\nx-own: gone\\r\\ncontent-LENGTH: 3\\r\\nX-Twice: 1\\r\\nDNT: 1\\r\\n\
             x-twice: 2\\r\\nSOAPAction: s\\r\\nExpect:\\r\\nlast: l\\r\\n\\r\\nabc"
        );
        let (answer, heads) = send(&lab, port, tls, &request);
        assert_eq!(
            heads,
            [format!(
                "POST /x HTTP/1.1\nHost: ok.test:{port}\nUser-Agent: ua\nX-API-Key: a\nContent-Length: 3\nX-Twice: 1\n\
                 x-twice: 2\nDNT: 1\nSOAPAction: s\nlast: l\n\n"
            )]
        );
        assert_eq!(
            answer,
            "HTTP/1.1 200 OK\nETag: 1\nx-ODD: 2\nContent-Length: 3\nX-Last: 3\nconnection: close\n\nok\n"
        );
    }
}

/// HTTP/2 has no capitals. A server that speaks HTTP/1 alone would get them from this client if there were no jail.
#[test]
fn names_from_http2_are_written_as_http1_does() {
    if !have("curl") {
        return;
    }
    let lab = lab();
    let url = format!("https://ok.test:{RAW_HTTPS}/x");
    let line = [
        "curl",
        "-sS",
        "--http2",
        "-A",
        "ua",
        "-H",
        "X-Api-Key: a",
        "-d",
        "abc",
        "-i",
        &url,
    ];
    let outcome = lab.jail().rule(RULE).command(line).run().expect_code(0);
    assert!(outcome.stdout.starts_with("HTTP/2 200"), "{outcome:#?}");
    assert_eq!(
        arrived(&lab),
        [format!(
            "POST /x HTTP/1.1\nHost: ok.test:{RAW_HTTPS}\nUser-Agent: ua\nAccept: */*\nX-Api-Key: a\nContent-Length: 3\n\
             Content-Type: application/x-www-form-urlencoded\n\n"
        )]
    );
}

/// What browsers escape, curl, wget and the programs of a standard library do not, and servers take both.
// Proves: H04.
#[test]
fn urls_with_bytes_that_clients_do_not_escape() {
    for (port, tls) in [(RAW_HTTP, false), (RAW_HTTPS, true)] {
        let lab = lab();
        let targets = [
            ("/search?q=stars:>1000", "/search?q=stars:%3E1000"),
            ("/a?<\"b\">", "/a?%3C%22b%22%3E"),
            ("/a`<b>\"c\"", "/a%60%3Cb%3E%22c%22"),
            ("/a?{b}|^[c]`", "/a?{b}|^[c]`"),
            ("/{a}|^[b]", "/%7Ba%7D|%5E[b]"),
            ("/\\xc3\\xbc?\\xc3\\xbc", "/%C3%BC?%C3%BC"),
            ("/caf\\xe9", "/caf%E9"),
        ];
        let mut request = String::new();
        for (sent, _) in targets {
            request += &format!("GET {sent} HTTP/1.1\\r\\nHost: ok.test:{port}\\r\\n\\r\\n");
        }
        request += &format!("GET /secret?> HTTP/1.1\\r\\nHost: ok.test:{port}\\r\\n\\r\\n");
        request += &format!("GET /a#b>\\x1b[2J HTTP/1.1\\r\\nHost: ok.test:{port}\\r\\n\\r\\n");
        let way = if tls { "tls" } else { "plain" };
        let outcome = lab
            .jail()
            .rule("deny: /secret")
            .rule(RULE)
            .command([PYTHON, "-c", SEND, &port.to_string(), way, &request])
            .run()
            .expect_code(0);
        let lines: Vec<String> = lab
            .heard()
            .raw
            .all()
            .iter()
            .map(httpjail_lab::RawRequest::line)
            .collect();
        let expected: Vec<String> = targets.iter().map(|(_, arrives)| format!("GET {arrives}")).collect();
        assert_eq!(lines, expected, "{outcome:#?}");
        assert_eq!(
            outcome.stdout.matches("HTTP/1.1 200 ").count(),
            targets.len(),
            "{outcome:#?}"
        );
        // What is logged is what was judged and sent.
        let scheme = if tls { "https" } else { "http" };
        let url = |path: &str| format!("{scheme}://ok.test:{port}{path}");
        for (_, arrives) in targets {
            let lines = outcome.events_with(&[("event", "request"), ("verdict", "allow"), ("url", &url(arrives))]);
            assert_eq!(lines.len(), 1, "{arrives}: {outcome:#?}");
        }
        let denied = outcome.events_with(&[("verdict", "deny"), ("url", &url("/secret?%3E"))]);
        assert_eq!(denied.len(), 1, "{outcome:#?}");
        // What is refused unread says so, and of what.
        let refusal = "HTTP/1.1 400 Bad Request\nx-httpjail: malformed\n";
        assert!(outcome.stdout.contains(refusal), "{outcome:#?}");
        assert!(
            outcome.stdout.contains(&format!("GET {}", url("/a#b>\\u{1b}[2J"))),
            "{outcome:#?}"
        );
        let refused = outcome.events_with(&[
            ("event", "refused"),
            ("reason", "malformed request: request target"),
            ("method", "GET"),
            ("url", &url("/a#b>\u{1b}[2J")),
            ("host", "ok.test"),
        ]);
        assert_eq!(refused.len(), 1, "{outcome:#?}");
        let line = format!(
            "refused GET {} (malformed request: request target)",
            url("/a#b>\\x1b[2J")
        );
        assert!(outcome.stderr.contains(&line), "{outcome:#?}");
    }
}
