//! What another program of the host makes and removes meanwhile is no trace of ours.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use httpjail_lab::canary;

use crate::support::{PYTHON, lab};

const STRANGER: &str = include_str!("support/probes/stranger.py");

/// The tests that look for what is left, on the host and among its mounts.
const TESTS: [&str; 4] = [
    "leftovers::after_a_normal_end",
    "leftovers::after_kill_9",
    "leftovers::many_jails_in_series",
    "ways::nothing_on_the_host_changes",
];

/// The other program, until it is told to end.
struct Stranger {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Stranger {
    fn start(script: &std::path::Path) -> Stranger {
        let mut child = Command::new(PYTHON)
            .arg(script)
            .arg(format!("stranger-{}", canary()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut stranger = Stranger { child, said };
        assert_eq!(stranger.hear(), "busy");
        stranger
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// How often it has made and removed things.
    fn end(mut self) -> u32 {
        drop(self.child.stdin.take());
        let rounds = self.hear();
        assert!(self.child.wait().unwrap().success());
        rounds.parse().unwrap()
    }
}

#[test]
fn are_not_taken_for_us() {
    let lab = lab();
    let stranger = Stranger::start(&lab.file("stranger.py", STRANGER));
    let mut tests = Command::new(std::env::current_exe().unwrap());
    let outcome = tests
        .args(["--exact", "--test-threads", "1"])
        .args(TESTS)
        .output()
        .unwrap();
    let (out, rounds) = (String::from_utf8_lossy(&outcome.stdout), stranger.end());
    assert!(
        outcome.status.success(),
        "{out}\n{}",
        String::from_utf8_lossy(&outcome.stderr)
    );
    assert!(
        out.contains(&format!("{} passed", TESTS.len())) && rounds > 10,
        "{rounds} rounds: {out}"
    );
}
