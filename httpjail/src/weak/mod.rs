//! Weak mode: a command that is asked, by environment variables, to use the proxy. Nothing holds it.
//!
//! It is what works on every system, and what `serve` is without a command. A program that ignores the variables is
//! neither judged nor logged, so httpjail says so on start. What a jail does otherwise is kept as far as it goes without a
//! kernel's help: exit statuses, signals, the time limit for the command and all that it started.

pub(crate) mod environment;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

use std::ffi::OsString;
use std::io;
use std::process;
use std::time::Duration;

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

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// By itself, with this status. (Windows knows more of them than 256.)
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// By us: its time was up.
    TimedOut,
}

/// Why a command did not run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// There is no such program.
    #[error("command not found: {0}")]
    NotFound(String),
    /// There is one, but it cannot be executed.
    #[error("cannot execute {0}: {1}")]
    NotExecutable(String, io::Error),
    /// The system failed us.
    #[error("cannot {0}: {1}")]
    System(&'static str, io::Error),
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

impl RunError {
    /// httpjail's own exit status for it.
    pub(crate) fn status(&self) -> u8 {
        match self {
            RunError::NotFound(_) => 127,
            RunError::NotExecutable(..) => 126,
            RunError::System(..) => 125,
        }
    }

    fn of_start(program: &OsString, error: io::Error) -> RunError {
        let name = program.to_string_lossy().escape_debug().to_string();
        // A script whose interpreter is missing is not found either, though the script is.
        match error.kind() {
            io::ErrorKind::NotFound if !std::path::Path::new(program).is_file() => RunError::NotFound(name),
            _ => RunError::NotExecutable(name, error),
        }
    }
}

impl Command {
    /// Runs it to its end, or to the end of its time; passes signals on meanwhile. Whatever it started and has not left its
    /// process group (Unix) or its job (Windows) ends with it.
    ///
    /// Called from within a runtime, on the process's main thread.
    ///
    /// # Errors
    /// When it cannot be started or waited for.
    pub(crate) async fn run(self, limit: Option<Duration>) -> Result<Outcome, RunError> {
        let mut command = process::Command::new(&self.program);
        command.args(&self.args).env_clear().envs(self.env);
        system::run(command, &self.program, limit).await
    }
}
