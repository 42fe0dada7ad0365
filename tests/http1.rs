//! HTTP/1 to the byte: of whatever is sent, only what can be read in one way arrives, as it was judged.

use std::collections::HashMap;

use httpjail_lab::RAW_HTTP;

use crate::support::{Expect as _, PYTHON, lab};

const CORPUS: &str = include_str!("corpus/http1.txt");
const RAW_REQUESTS: &str = include_str!("support/probes/raw_requests.py");

/// Every case of the corpus: the statuses that the client sees, and the requests that reach the origin.
#[test]
fn what_is_sent_and_what_arrives() {
    let lab = lab();
    let (corpus, probe) = (lab.file("http1.txt", CORPUS), lab.file("raw_requests.py", RAW_REQUESTS));
    let port = RAW_HTTP.to_string();
    let outcome = lab
        .jail()
        .rule("deny: /secret")
        .rule(r"allow: ^http://ok\.test(:\d+)?/")
        .rule(r"allow-options: ^http://ok\.test(:\d+)?\*$")
        .command([
            PYTHON,
            probe.to_str().unwrap(),
            corpus.to_str().unwrap(),
            "ok.test",
            &port,
        ])
        .run()
        .expect_code(0);
    let answered: HashMap<&str, &str> = outcome.stdout.lines().filter_map(|line| line.split_once(' ')).collect();
    let mut arrived: HashMap<String, Vec<String>> = HashMap::new();
    let mut case = String::new();
    for request in lab.heard().raw.all() {
        match request.line().strip_prefix("GET /case/") {
            Some(name) => case = name.to_owned(),
            None => arrived.entry(case.clone()).or_default().push(request.line()),
        }
        assert!(!request.head.contains("/secret"), "{case}: {request:?}");
    }
    let mut wrong = Vec::new();
    let mut cases = 0;
    for line in CORPUS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let columns: Vec<&str> = line.splitn(4, '|').map(str::trim).collect();
        let (name, expected) = (columns[0], (columns[1], columns[2]));
        let requests = arrived
            .remove(name)
            .map_or("-".to_owned(), |requests| requests.join("; "));
        let found = (answered.get(name).copied().unwrap_or("nothing"), requests.as_str());
        if found != expected {
            wrong.push(format!("{name}: {found:?}, not {expected:?}"));
        }
        cases += 1;
    }
    assert!(
        wrong.is_empty() && arrived.is_empty(),
        "{}\n{arrived:?}",
        wrong.join("\n")
    );
    assert!(
        cases >= 80 && answered.len() == cases,
        "{cases} cases, {} answered",
        answered.len()
    );
}
