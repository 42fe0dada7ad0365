//! `--approve-with COMMAND`: a program that is asked, one run of it for each question.
//!
//! It reads one JSON object (a [`ApprovalRequest`]) on its standard input and writes one to its standard output:
//! `{"verdict": "allow" | "deny", "for": "once" | "run", "extent": "url" | "prefix" | "host", "reason": "..."}`. Only
//! `verdict` must be there. Whatever else it does (ends with another status than 0, writes something else, or too much, or
//! takes too long) is a denial.

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

/// How many run at a time; the others wait for their turn.
const AT_ONCE: usize = 8;

/// Longer answers are none.
const ANSWER_BYTES: u64 = 64 * 1024;

/// How much of a program's reason is passed on, in characters.
const REASON_MAX: usize = 500;

/// A program that is asked.
#[derive(Debug)]
pub(crate) struct ApproverProgram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    command: String,
    env: Vec<(OsString, OsString)>,
    limit: Duration,
    folder: Option<PathBuf>,
    room: Semaphore,
}

/// What it answers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramOutput {
    verdict: Verdict,
    #[serde(default, rename = "for")]
    span: For,
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
    /// A command for the shell, with its whole environment, and how long it may take.
    pub(crate) fn new(command: String, env: Vec<(OsString, OsString)>, limit: Duration) -> ApproverProgram {
        ApproverProgram(Arc::new(Inner {
            command,
            env,
            limit,
            folder: None,
            room: Semaphore::new(AT_ONCE),
        }))
    }

    /// The same program, run in this folder.
    #[must_use]
    pub(crate) fn at(mut self, folder: PathBuf) -> ApproverProgram {
        // Nobody else has it yet.
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.folder = Some(folder);
        }
        self
    }
}

impl Approver for ApproverProgram {
    fn ask(&self, request: ApprovalRequest) -> DecisionFuture {
        let inner = self.0.clone();
        Box::pin(async move {
            let Ok(_place) = inner.room.acquire().await else {
                return ApprovalDecision::Deny(GrantDuration::Once, Denial::Over);
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
            .map_err(|error| Denial::Failed(format!("the question cannot be written: {error}")))?;
        input.push(b'\n');
        let mut child = Group(self.start().map_err(failed("the program cannot be started"))?);
        let (status, output) = timeout(self.limit, child.converse(input))
            .await
            .map_err(|_| Denial::Late)?
            .map_err(failed("the program cannot be asked"))?;
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
        self.folder.iter().for_each(|folder| {
            command.current_dir(folder);
        });
        // So that all that it started can be ended, and so that no key of the terminal reaches it.
        #[cfg(unix)]
        command.process_group(0);
        command.spawn()
    }
}

/// The question with the version of its form.
#[derive(Serialize)]
struct ProgramInput<'a> {
    version: u32,
    #[serde(flatten)]
    request: &'a ApprovalRequest,
}

/// A running program. Dropped, it ends with all that it started.
struct Group(Child);

impl Group {
    async fn converse(&mut self, input: Vec<u8>) -> io::Result<(std::process::ExitStatus, Vec<u8>)> {
        let (Some(mut to), Some(from)) = (self.0.stdin.take(), self.0.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let asking = async move {
            // A program that answers without reading is free to.
            let _ = to.write_all(&input).await;
        };
        let mut output = Vec::new();
        let mut from = from.take(ANSWER_BYTES + 1);
        let (read, ()) = tokio::join!(from.read_to_end(&mut output), asking);
        read?;
        if output.len() as u64 > ANSWER_BYTES {
            return Err(io::Error::other("it says too much"));
        }
        Ok((self.0.wait().await?, output))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(leader) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            // Not waited for yet, so the number is still its own; nobody left is no fault.
            let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(leader), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

fn read(output: &[u8]) -> Result<ApprovalDecision, Denial> {
    let said: ProgramOutput = serde_json::from_slice(output)
        .map_err(|error| Denial::Failed(format!("the program's answer is no verdict: {error}")))?;
    let span = match (said.span, said.scope) {
        (For::Once, None) => GrantDuration::Once,
        (For::Run, scope) => GrantDuration::Run(scope.unwrap_or(GrantScope::Url)),
        (For::Once, Some(_)) => {
            return Err(Denial::Failed(
                "the program's answer has an extent, but is for once".into(),
            ));
        }
    };
    Ok(match said.verdict {
        Verdict::Allow => ApprovalDecision::Allow(span),
        Verdict::Deny => {
            let reason = said.reason.map(|reason| reason.chars().take(REASON_MAX).collect());
            ApprovalDecision::Deny(span, Denial::Said(reason))
        }
    })
}
