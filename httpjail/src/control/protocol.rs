//! What is asked, and what is answered: one line of JSON each.
//!
//! An answer may have more fields in a later version; a field keeps its meaning. `v` changes when that cannot be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::counts::Counts;

/// The version of both lines.
pub(crate) const VERSION: u32 = 1;

/// How long a request's line may be.
pub(super) const REQUEST_MAX: usize = 1024;

/// How long an answer's line may be: what is longer is not one of ours.
pub(super) const ANSWER_MAX: usize = 1 << 20;

/// How long a run's name may be.
const NAME_MAX: usize = 64;

/// Reads a run's name, which becomes the name of a file, and stands in logs and tables.
///
/// # Errors
/// What is expected of one.
pub(crate) fn parse_name(name: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let good = (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with(['.', '-']);
    match good {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "expected at most {NAME_MAX} letters, digits and `-_.`, beginning with a letter or digit or `_`"
        )),
    }
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) v: u32,
    pub(super) ask: Ask,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ask {
    /// Who it is, and which policy is in force.
    Status,
    /// Look at the policy file now, as after SIGHUP.
    Reload,
    /// Who it is, and what it has counted.
    Counters,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) v: u32,
    #[serde(flatten)]
    pub(super) told: Told,
}

/// What an answer tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Told {
    /// The answer to [`Ask::Status`].
    Status(Box<Status>),
    /// The answer to [`Ask::Reload`], if the policy file was taken.
    Reload(Loaded),
    /// The answer to [`Ask::Counters`].
    Counters(Box<Counted>),
    /// Why there is no other answer. For [`Ask::Reload`]: why the old policy stays in force.
    Error(String),
}

/// A run, and its policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// What does not change.
    #[serde(flatten)]
    pub(crate) run: Run,
    /// The policy.
    pub(crate) policy: Policy,
}

/// A run, and what it has counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counted {
    #[serde(flatten)]
    pub(crate) status: Status,
    /// Since it began.
    pub(crate) counts: Counts,
}

/// What a run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Its name: `--name`, or one that no other has.
    pub(crate) name: String,
    /// The labels that it was given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// What kind of run.
    pub(crate) kind: Kind,
    /// The process that was started: to end the run, end this one.
    pub(crate) pid: u32,
    /// When, RFC 3339 in UTC.
    pub(crate) started: String,
    /// How its log names it.
    pub(crate) session: String,
    /// How it is steered: `ebpf`, `netns`, `weak`; `serve` is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) backend: Option<String>,
    /// What verdicts do: `enforce`, `dry-run`, `log-only` or `learn`.
    pub(crate) mode: String,
    /// What it holds: the command, the cgroup or the container, or where it listens.
    pub(crate) holds: String,
}

/// A kind of run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// `httpjail -- COMMAND`, `learn`, weak mode.
    Jail,
    /// `httpjail attach`.
    Attach,
    /// `httpjail serve`.
    Serve,
}

impl Kind {
    /// Returns its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Jail => "jail",
            Kind::Attach => "attach",
            Kind::Serve => "serve",
        }
    }
}

/// A run's policy: the file, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Policy {
    /// The policy file, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// What is in force.
    #[serde(flatten)]
    pub(crate) in_force: Loaded,
    /// How often it was replaced.
    pub(crate) reloads: u64,
    /// How often a new file was not taken.
    pub(crate) failures: u64,
    /// The latest failure, if no reload succeeded since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<PolicyFailure>,
}

/// The policy that judges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Loaded {
    /// How many rules it has.
    pub(crate) rules: usize,
    /// The SHA-256 of its rules, each as `check` shows it, with a line end. Two runs with the same rules have the same.
    pub(crate) sha256: String,
    /// Since when it is in force, RFC 3339 in UTC.
    pub(crate) loaded: String,
}

/// Why a policy file was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PolicyFailure {
    /// When, RFC 3339 in UTC.
    pub(crate) at: String,
    /// The message, shortened.
    pub(crate) reason: String,
}
