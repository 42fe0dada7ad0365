//! Runs the program of `--approve-with COMMAND`, once for each request.
//!
//! It reads one JSON object (a [`ApprovalRequest`]) on its standard input and writes one to its standard output:
//! `{"verdict": "allow" | "deny", "for": "once" | "run", "extent": "url" | "prefix" | "host", "reason": "..."}`. Only
//! `verdict` is required. Anything else is a denial: another exit status than 0, other output, too much of it, or a delay.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::approver::{Approver, DecisionFuture};
use super::decision::{ApprovalDecision, Denial, GrantDuration};
use super::grant::GrantScope;
use super::request::ApprovalRequest;

/// How many run at a time; other requests wait.
const AT_ONCE: usize = 8;

/// Longer output is an error.
const ANSWER_BYTES: u64 = 64 * 1024;

/// A program's reason is cut to so many characters.
const REASON_MAX: usize = 500;

/// A program that decides.
#[derive(Debug)]
pub(crate) struct ApproverProgram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    command: String,
    env: Vec<(OsString, OsString)>,
    limit: Duration,
    directory: Option<PathBuf>,
    permits: Semaphore,
}

/// What the program writes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramOutput {
    verdict: Verdict,
    #[serde(default, rename = "for")]
    duration: For,
    #[serde(rename = "extent")]
    scope: Option<GrantScope>,
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Allow,
    Deny,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum For {
    #[default]
    Once,
    Run,
}

impl ApproverProgram {
    /// `command` is for the shell, `env` its whole environment, `limit` the time that it may take.
    pub(crate) fn new(command: String, env: Vec<(OsString, OsString)>, limit: Duration) -> ApproverProgram {
        ApproverProgram(Arc::new(Inner {
            command,
            env,
            limit,
            directory: None,
            permits: Semaphore::new(AT_ONCE),
        }))
    }

    /// Returns the same program, to be run in this directory.
    #[must_use]
    pub(crate) fn at(mut self, directory: PathBuf) -> ApproverProgram {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.directory = Some(directory);
        }
        self
    }
}

impl Approver for ApproverProgram {
    fn ask(&self, request: ApprovalRequest) -> DecisionFuture {
        let inner = self.0.clone();
        Box::pin(async move {
            let Ok(_permit) = inner.permits.acquire().await else {
                return ApprovalDecision::Deny(GrantDuration::Once, Denial::RunEnded);
            };
            inner
                .run(&request)
                .await
                .unwrap_or_else(|denial| ApprovalDecision::Deny(GrantDuration::Once, denial))
        })
    }
}

impl Inner {
    async fn run(&self, request: &ApprovalRequest) -> Result<ApprovalDecision, Denial> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| Denial::Failed(format!("{what}: {error}"))
        };
        let mut input = serde_json::to_vec(&ProgramInput { version: 1, request })
            .map_err(|error| Denial::Failed(format!("cannot write the question: {error}")))?;
        input.push(b'\n');
        let mut child = Group(self.start().map_err(failed("cannot start the program"))?);
        let (status, output) = timeout(self.limit, child.converse(input))
            .await
            .map_err(|_| Denial::TimedOut)?
            .map_err(failed("cannot ask the program"))?;
        if !status.success() {
            return Err(Denial::Failed(format!("the program ended with {status}")));
        }
        read(&output)
    }

    fn start(&self) -> io::Result<Child> {
        let mut command = if cfg!(windows) {
            let mut command = Command::new("cmd");
            command.args(["/C", &self.command]);
            command
        } else {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", &self.command]);
            command
        };
        command
            .env_clear()
            .envs(self.env.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        self.directory.iter().for_each(|directory| {
            command.current_dir(directory);
        });
        // A group of its own: httpjail can end all that the program started, and no key of the terminal reaches it.
        #[cfg(unix)]
        command.process_group(0);
        command.spawn()
    }
}

/// The request with the version of the format.
#[derive(Serialize)]
struct ProgramInput<'a> {
    version: u32,
    #[serde(flatten)]
    request: &'a ApprovalRequest,
}

/// A running program. When it is dropped, it is killed with all that it started.
struct Group(Child);

impl Group {
    async fn converse(&mut self, input: Vec<u8>) -> io::Result<(std::process::ExitStatus, Vec<u8>)> {
        let (Some(mut to), Some(from)) = (self.0.stdin.take(), self.0.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let asking = async move {
            // A program may answer without reading its input.
            let _ = to.write_all(&input).await;
        };
        let mut output = Vec::new();
        let mut from = from.take(ANSWER_BYTES + 1);
        let (read, ()) = tokio::join!(from.read_to_end(&mut output), asking);
        read?;
        if output.len() as u64 > ANSWER_BYTES {
            return Err(io::Error::other("its output is too long"));
        }
        Ok((self.0.wait().await?, output))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(leader) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            // It has not been waited for yet, so the number is still its own. An empty group is not an error.
            let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(leader), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

fn read(output: &[u8]) -> Result<ApprovalDecision, Denial> {
    let said: ProgramOutput = serde_json::from_slice(output)
        .map_err(|error| Denial::Failed(format!("the program's output is not a verdict: {error}")))?;
    let duration = match (said.duration, said.scope) {
        (For::Once, None) => GrantDuration::Once,
        (For::Run, scope) => GrantDuration::Run(scope.unwrap_or(GrantScope::Url)),
        (For::Once, Some(_)) => {
            return Err(Denial::Failed(
                "the program's output has an `extent`, which needs `for` to be `run`".into(),
            ));
        }
    };
    Ok(match said.verdict {
        Verdict::Allow => ApprovalDecision::Allow(duration),
        Verdict::Deny => {
            let reason = said.reason.map(|reason| reason.chars().take(REASON_MAX).collect());
            ApprovalDecision::Deny(duration, Denial::ByApprover(reason))
        }
    })
}
