//! The requests of JSON logs: each that was judged, and how often.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::audit::{EventKind, read_line};
use crate::cli::invoking_user::InvokingUser;
use crate::cli::output::USAGE;
use crate::failure::Failure;
use crate::policy::{Target, request};

/// What is in the logs.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Each request, in the order of its first appearance, and how often it was made.
    pub(crate) requests: Vec<(Target, u64)>,
    /// Lines that should be records of requests and are not, or name what cannot be judged.
    pub(crate) passed_over: u64,
}

/// Reads the logs with the caller's rights; `-` is stdin.
///
/// # Errors
/// When one cannot be read, or there is no JSON in it.
pub(crate) fn requests(logs: &[PathBuf], caller: &InvokingUser) -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    let mut places = HashMap::new();
    for path in logs {
        let failed = |what: &str| Failure {
            status: USAGE,
            ..Failure::new(format!("cannot read the log {}: {what}", path.display()))
        };
        let read = if path == Path::new("-") {
            read(io::stdin().lock(), &mut seen, &mut places)
        } else {
            let opened = caller.act(|| File::open(path)).flatten();
            opened.and_then(|file| read(BufReader::new(file), &mut seen, &mut places))
        };
        if !read.map_err(|error| failed(&error.to_string()))? {
            return Err(Failure {
                hint: Some("a log to replay is written with --log FILE --log-format json".into()),
                ..failed("no line of it is a JSON record")
            });
        }
    }
    Ok(seen)
}

/// Adds what `log` has. Says whether it is one.
fn read(mut log: impl BufRead, seen: &mut Seen, places: &mut HashMap<String, usize>) -> io::Result<bool> {
    let (mut any, mut empty, mut line) = (false, true, Vec::new());
    loop {
        line.clear();
        if log.read_until(b'\n', &mut line)? == 0 {
            return Ok(any || empty);
        }
        empty = false;
        let Some(record) = read_line(&line) else {
            seen.passed_over += 1;
            continue;
        };
        any = true;
        if record.event != EventKind::Request {
            continue;
        }
        let target = match (record.method, record.url) {
            (Some(method), Some(url)) => request::of(&method, &url).ok(),
            _ => None,
        };
        let Some(target) = target else {
            seen.passed_over += 1;
            continue;
        };
        match places.get(&target.to_string()) {
            Some(place) => seen.requests[*place].1 += 1,
            None => {
                places.insert(target.to_string(), seen.requests.len());
                seen.requests.push((target, 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(log: &str) -> (bool, Vec<(String, u64)>, u64) {
        let mut seen = Seen::default();
        let is_log = read(log.as_bytes(), &mut seen, &mut HashMap::new()).expect("memory");
        let requests = seen.requests.iter().map(|(target, times)| (target.to_string(), *times));
        (is_log, requests.collect(), seen.passed_over)
    }

    #[test]
    fn requests_once_each_in_their_order() {
        let log = concat!(
            r#"{"event":"start","session":"s","seq":1}"#,
            "\n",
            r#"{"event":"request","verdict":"deny","method":"GET","url":"https://b.test/"}"#,
            "\n",
            r#"{"event":"request","verdict":"allow","method":"POST","url":"https://a.test/x?y"}"#,
            "\n",
            r#"{"event":"request","verdict":"deny","method":"GET","url":"https://b.test/"}"#,
            "\n",
            r#"{"event":"request","verdict":"deny","method":"GET","url":"https://a.test/%00"}"#,
            "\n{\"event\":\"req",
        );
        let requests = vec![("GET https://b.test/".into(), 2), ("POST https://a.test/x?y".into(), 1)];
        assert_eq!(of(log), (true, requests, 2));
    }

    #[test]
    fn what_is_no_log() {
        assert_eq!(of("httpjail: denied GET https://a.test/\n"), (false, vec![], 1));
        assert_eq!(of(""), (true, vec![], 0));
    }
}
