//! The seam between a run and the way in which its command is held to the proxy.
//!
//! There are three [`Backend`]s: two make a jail and differ in how they steer its traffic, the third asks the command to use the
//! proxy. A run goes through the same stages over each of them, and each stage is a type of its own, so that no command starts
//! before its backend has shown that its clients reach the proxy. What only one backend has (namespaces, seccomp, a token) is
//! behind this seam and not in it.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::policy::learn::LearnedRule;

/// A way to run a command so that its requests are judged.
pub(crate) trait Backend {
    /// Its name, as `--backend` spells it.
    fn name(&self) -> &'static str;

    /// Starts the proxy where this backend has it, and makes what the command will run in. Nothing in there reaches a network
    /// yet.
    ///
    /// # Errors
    /// Naming the step that failed; what was made is gone again.
    fn prepare(self: Box<Self>) -> Result<Box<dyn Prepared>, Failure>;
}

/// What the command will run in is there.
pub(crate) trait Prepared {
    /// Leads the command's connections to the proxy, and proves with one of its own that they arrive.
    ///
    /// # Errors
    /// Naming what did not arrive; what was made is gone again.
    fn arm(self: Box<Self>) -> Result<Box<dyn Armed>, Failure>;
}

/// The command's connections reach the proxy.
pub(crate) trait Armed {
    /// Where the proxy's clients come from, and what else `-v` and `doctor` tell.
    fn notes(&self) -> Vec<String>;

    /// Starts the command with its environment.
    ///
    /// # Errors
    /// When there is no such command, it cannot be executed, or httpjail failed; what was made is gone again.
    fn spawn(self: Box<Self>) -> Result<Box<dyn Running>, Failure>;
}

/// The command runs.
pub(crate) trait Running {
    /// Waits for the command's end or that of its time, passing signals on meanwhile. Then ends whatever it left behind, has the
    /// proxy finish its log, and removes what was made.
    ///
    /// # Errors
    /// When the proxy or another part of httpjail failed; the command was ended then.
    fn wait(self: Box<Self>) -> Result<Ended, Failure>;
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How the command ended.
    pub(crate) outcome: Outcome,
    /// What it asked for.
    pub(crate) findings: RunFindings,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// By itself, with this status. (Windows knows more of them than 256.)
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// By httpjail: its time was up.
    TimedOut,
}

impl Outcome {
    /// httpjail's own exit status for it.
    pub(crate) fn status(self) -> i32 {
        match self {
            Outcome::Exited(status) => status,
            Outcome::Killed(signal) => 128 + signal,
            Outcome::TimedOut => 124,
        }
    }
}

/// What a run is found to have asked for, for whoever acts on it.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunFindings {
    /// Rules for what no rule was about.
    pub(crate) learned: Vec<LearnedRule>,
    /// How many requests they stand for.
    pub(crate) requests: u64,
    /// How many requests more there were, to more hosts than are learned.
    pub(crate) left_out: u64,
    /// How many requests the policy denied.
    pub(crate) denied: u64,
}
