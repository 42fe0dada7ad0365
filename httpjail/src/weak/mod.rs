//! Weak mode: the command runs without a jail, and environment variables ask it to use the proxy. Nothing holds it.
//!
//! This works on every system, for nothing of it needs a kernel's help. A program that ignores the variables is neither judged nor
//! logged, so httpjail says so on start. Exit statuses, signals and the time limit are those of a run in a jail: they cover the
//! command and whatever it started that is still in its process group (Unix) or its job (Windows).

pub(crate) mod environment;
mod error;
pub(crate) mod self_test;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

use std::ffi::OsString;
use std::process;
use std::time::Duration;

use crate::backend::Outcome;
pub(crate) use error::RunError;

/// What to run.
#[derive(Debug)]
pub(crate) struct Command {
    /// The program, as typed.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
}

impl Command {
    /// Starts it, in a process group (Unix) or a job (Windows) of its own.
    ///
    /// Called within a runtime, on the process's main thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn spawn(self) -> Result<Child, RunError> {
        let mut command = process::Command::new(&self.program);
        command.args(&self.args).env_clear().envs(self.env);
        system::Child::spawn(command, &self.program).map(Child)
    }
}

/// A command that runs.
pub(crate) struct Child(system::Child);

impl Child {
    /// Waits for its end, or for the end of its time; passes signals on meanwhile. Whatever it started and has not left its
    /// process group (Unix) or its job (Windows) ends with it.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub(crate) async fn wait(self, limit: Option<Duration>) -> Result<Outcome, RunError> {
        self.0.wait(limit).await
    }
}
