//! What servers answer, however oddly: a client in a jail gets what it would get without one, or httpjail's own words where
//! nobody can tell where the answer ends.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use httpjail_lab::{JailBuilder, Lab, WORLD_V4};

use crate::support::{Expect as _, PYTHON, has_all, have, lab};

const CORPUS: &str = include_str!("corpus/answers.txt");
const SERVER: &str = include_str!("support/probes/odd_server.py");
const CLIENT: &str = include_str!("support/probes/odd_client.py");

/// For hundreds of answers, on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(300);

/// The server of the table, in the world, for as long as this lives.
struct Server(Child);

impl Server {
    fn start(lab: &Lab, corpus: &str) -> Server {
        let script = lab.file("odd_server.py", SERVER);
        let corpus = lab.file("corpus.txt", corpus);
        let (chain, key) = lab.certificate("*.odd.test").unwrap();
        let mut server = lab
            .on_world(|| {
                let mut line = Command::new(PYTHON);
                line.args([&script, &corpus])
                    .arg(WORLD_V4.to_string())
                    .args([&chain, &key]);
                Ok(line.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?)
            })
            .unwrap();
        let mut said = String::new();
        let stdout = server.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut said).unwrap();
        assert_eq!(said, "up\n");
        Server(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `run` sees of each row of the table over HTTP/1.1 (`h1`), HTTP/2 (`h2`), or what the server speaks (`bare`).
fn seen(lab: &Lab, run: JailBuilder<'_>, corpus: &str, leg: &str) -> HashMap<String, String> {
    let script = lab.file("odd_client.py", CLIENT);
    let corpus = lab.file("corpus.txt", corpus);
    let line = [PYTHON, script.to_str().unwrap(), corpus.to_str().unwrap(), leg];
    let outcome = run.command(line).limit(LIMIT).run().expect_code(0);
    let rows = outcome.stdout.lines().filter_map(|line| line.split_once(' '));
    rows.map(|(name, seen)| (name.to_owned(), seen.to_owned())).collect()
}

/// Every row: without a jail, in it over HTTP/1.1, and in it over HTTP/2.
#[test]
fn what_is_answered_and_what_is_seen() {
    if !have("curl") {
        return;
    }
    let lab = lab();
    let _server = Server::start(&lab, CORPUS);
    let jail = || lab.jail().rule(r"allow: ^https?://[a-z0-9-]+\.odd\.test:\d+/");
    let bare = lab.unjailed().env("CURL_CA_BUNDLE", lab.upstream_ca());
    let legs = [
        ("without a jail", seen(&lab, bare, CORPUS, "bare")),
        ("HTTP/1.1", seen(&lab, jail(), CORPUS, "h1")),
        ("HTTP/2", seen(&lab, jail(), CORPUS, "h2")),
    ];
    let mut wrong = Vec::new();
    let rows = CORPUS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for row in rows {
        let columns: Vec<&str> = row.splitn(5, '|').map(str::trim).collect();
        let name = columns[0].split('*').next().unwrap_or_default();
        for ((leg, seen), column) in legs.iter().zip(1..) {
            // `=` is what is seen without a jail.
            let expected = if columns[column] == "=" {
                columns[1]
            } else {
                columns[column]
            };
            let found = seen.get(name).map_or("no such row", String::as_str);
            if expected.split(" or ").all(|expected| found != expected) {
                wrong.push(format!("{name}, {leg}: {found}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(legs[1].1.len() >= 100, "{} rows", legs[1].1.len());
}

/// Where nobody answers, the 502 and the log say what went wrong, and at which host.
#[test]
fn what_is_not_reached_is_named() {
    if !have("curl") {
        return;
    }
    let lab = lab();
    let _server = Server::start(&lab, CORPUS);
    let rows = [
        (
            "http://nowhere.example/",
            "name not resolved",
            "this host could not resolve the name nowhere.example: ",
        ),
        (
            "http://ok.test:81/",
            "connect failed",
            "connecting to ok.test failed: connection refused: nothing listens on that port",
        ),
        (
            "https://ok.test:80/",
            "certificate",
            "TLS with ok.test failed: it does not speak TLS on that port",
        ),
        (
            "https://ok.test:8443/length",
            "certificate",
            "TLS with ok.test failed: the server's certificate is not valid for ok.test, only for *.odd.test",
        ),
        (
            "http://all.odd.test:8009/half-a-head",
            "upstream broke off",
            "The server did not give a proper answer: ",
        ),
    ];
    let mut line = vec!["curl", "-s"];
    line.extend(rows.map(|(url, ..)| url));
    let outcome = lab.jail().rule("allow: .").command(line).run().expect_code(0);
    let events = outcome.events_with(&[("event", "request")]);
    assert_eq!(events.len(), rows.len(), "{outcome:#?}");
    for (event, (url, reason, words)) in events.iter().zip(rows) {
        let said = ["url", "verdict", "status", "reason"].map(|name| event[name].to_string().replace('"', ""));
        assert_eq!(said, [url, "allow", "502", reason], "{event:#}");
        assert!(event["failure"].as_str().unwrap().starts_with(words), "{event:#}");
        has_all(&outcome.stdout, &[&format!("httpjail: upstream-error: {words}"), url]);
        has_all(&outcome.stderr, &[&format!("httpjail: failed GET {url} 502 ({words}")]);
    }
    // Signed by nobody whom this host knows.
    let stranger = lab.jail().without_upstream_ca().rule("allow: .");
    let outcome = stranger
        .command(["curl", "-s", "https://ok.test/"])
        .run()
        .expect_code(0);
    let words =
        "TLS with ok.test failed: the server's certificate is not signed by an authority that this system trusts";
    has_all(&outcome.stdout, &[words, "--upstream-ca"]);
}
