//! Conversations byte for byte, with what no client library would say.

use httpjail_lab::{JailBuilder, Lab, Outcome};
use serde_json::{Value, json};

use super::{Expect as _, PYTHON};

const ASK: &str = include_str!("probes/ask.py");
/// The header field by which the origin's log tells which conversation a request was of.
const MARK: &str = "x-cell";

/// One conversation, to be put together by what follows the `to`.
#[derive(Debug, Clone)]
pub(crate) struct Talk(Value);

impl Talk {
    /// With whoever listens there: a name or an address; `proxy` is the one that the environment names.
    pub(crate) fn to(host: &str, port: u16) -> Talk {
        Talk(json!({"to": [host, port]}))
    }

    /// Begins with this; the rest is said only after a 200.
    pub(crate) fn connect(self, head: &str) -> Talk {
        self.with("connect", head.into())
    }

    /// By way of a relay inside the jail.
    pub(crate) fn relayed(self) -> Talk {
        self.with("relayed", true.into())
    }

    /// Goes on over TLS, opened for this server name; for none, if it is empty.
    pub(crate) fn tls(self, name: &str) -> Talk {
        self.with("tls", name.into())
    }

    /// Says this, and listens to the end. `MARK` in it becomes the field that marks the conversation.
    pub(crate) fn h1(self, bytes: impl AsRef<[u8]>) -> Talk {
        self.with("h1", latin(bytes.as_ref()).into())
    }

    /// Opens these as streams; a name without a letter is the body's.
    pub(crate) fn h2(self, requests: &[Vec<(&str, &str)>]) -> Talk {
        self.with("h2", json!(requests))
    }

    fn with(mut self, key: &str, value: Value) -> Talk {
        self.0[key] = value;
        self
    }
}

/// A `GET` of HTTP/1.1 that ends its connection; `target` as it stands in the request line, `fields` each with a line end.
pub(crate) fn get(target: impl AsRef<[u8]>, fields: impl AsRef<[u8]>) -> Vec<u8> {
    let (target, fields) = (target.as_ref(), fields.as_ref());
    [
        b"GET ",
        target,
        b" HTTP/1.1\r\n",
        fields,
        b"MARK\r\nConnection: close\r\n\r\n",
    ]
    .concat()
}

/// The `Host` field, with its line end.
pub(crate) fn host(value: impl AsRef<[u8]>) -> Vec<u8> {
    [b"Host: ", value.as_ref(), b"\r\n"].concat()
}

/// Has all of `talks` in `run`, and tells for each which statuses came back and what reached the origin, as
/// `200 403 | GET http://ok.test/x`.
pub(crate) fn ask(lab: &Lab, run: JailBuilder<'_>, talks: &[Talk]) -> (Vec<String>, Outcome) {
    let mut told = Vec::new();
    for (nth, Talk(talk)) in talks.iter().enumerate() {
        let mut talk = talk.clone();
        if let Some(bytes) = talk.get("h1").and_then(Value::as_str) {
            talk["h1"] = bytes.replace("MARK", &format!("{MARK}: {nth}")).into();
        }
        if let Some(streams) = talk.get_mut("h2").and_then(Value::as_array_mut) {
            for fields in streams.iter_mut().filter_map(Value::as_array_mut) {
                fields.push(json!([MARK, nth.to_string()]));
            }
        }
        told.push(talk);
    }
    let script = lab.file("ask.py", ASK);
    let told = lab.file("told.json", Value::from(told).to_string());
    let outcome = run
        .command([PYTHON, script.to_str().unwrap(), told.to_str().unwrap()])
        .run()
        .expect_code(0);
    let mut heard = Vec::new();
    for line in outcome.stdout.lines() {
        let statuses: Vec<Value> = serde_json::from_str(line).unwrap();
        let words = statuses.iter().map(|status| match status {
            Value::String(word) => word.clone(),
            number => number.to_string(),
        });
        heard.push(words.collect::<Vec<_>>().join(" "));
    }
    assert_eq!(heard.len(), talks.len(), "{outcome:#?}");
    // What one conversation sent upstream may arrive in any order.
    let mut seen = lab.heard().requests.all();
    seen.sort_by_key(|seen| seen.path.clone());
    for seen in seen {
        let mark = seen.headers.iter().find(|(name, _)| name == MARK);
        let mark = mark.unwrap_or_else(|| panic!("a request of no conversation reached the origin: {seen:#?}"));
        let scheme = if seen.tls { "https" } else { "http" };
        let line = format!(" | {} {scheme}://{}{}", seen.method, seen.host, seen.path);
        heard[mark.1.parse::<usize>().unwrap()] += &line;
    }
    (heard, outcome)
}

/// A character a byte, as the script reads it.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
