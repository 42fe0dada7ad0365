//! What came of reloads, for the control socket.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;

use jiff::Timestamp;
use ring::digest::{SHA256, digest};

use crate::control::protocol::{self, Loaded, PolicyFailure};
use crate::policy::Policy;
use crate::sync::lock;

/// How much of a message is kept: it shows the wrong pattern, which may have any length.
const REASON_MAX: usize = 1000;

/// What came of reloads so far.
#[derive(Debug)]
pub(super) struct History(Mutex<State>);

#[derive(Debug)]
struct State {
    loaded: Timestamp,
    /// Of the policy in force, once somebody has asked: it takes a while for a long one.
    sha256: Option<String>,
    reloads: u64,
    failures: u64,
    failure: Option<PolicyFailure>,
}

impl History {
    pub(super) fn new() -> History {
        History(Mutex::new(State {
            loaded: Timestamp::now(),
            sha256: None,
            reloads: 0,
            failures: 0,
            failure: None,
        }))
    }

    /// Another policy is in force.
    pub(super) fn taken(&self) {
        let mut state = lock(&self.0);
        state.loaded = Timestamp::now();
        state.sha256 = None;
        state.reloads += 1;
        state.failure = None;
    }

    /// A new policy file was not taken.
    pub(super) fn failed(&self, reason: &str) {
        let mut state = lock(&self.0);
        state.failures += 1;
        state.failure = Some(PolicyFailure {
            at: spelled(Timestamp::now()),
            reason: reason.chars().take(REASON_MAX).collect(),
        });
    }

    /// Returns what is in force: `policy`.
    pub(super) fn loaded(&self, policy: &Policy) -> Loaded {
        let mut state = lock(&self.0);
        let sha256 = state.sha256.get_or_insert_with(|| sha256(policy)).clone();
        Loaded {
            rules: policy.rules().len(),
            sha256,
            loaded: spelled(state.loaded),
        }
    }

    /// Returns all of it.
    pub(super) fn told(&self, file: Option<&Path>, policy: &Policy) -> protocol::Policy {
        let in_force = self.loaded(policy);
        let state = lock(&self.0);
        protocol::Policy {
            file: file.map(|file| file.display().to_string()),
            in_force,
            reloads: state.reloads,
            failures: state.failures,
            failure: state.failure.clone(),
        }
    }
}

/// As the log spells times.
fn spelled(time: Timestamp) -> String {
    format!("{time:.3}")
}

fn sha256(policy: &Policy) -> String {
    let mut text = String::new();
    for (_, rule) in policy.rules() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{rule}");
    }
    let sum = digest(&SHA256, text.as_bytes());
    sum.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
