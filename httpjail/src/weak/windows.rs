//! The command's job object: what it starts is in it too, and all of it ends when the job is closed.

use std::ffi::OsString;
use std::process;
use std::time::Duration;

use process_wrap::tokio::{CommandWrap, JobObject, KillOnDrop};
use tokio::time::timeout;

use super::{Outcome, RunError};

pub(super) async fn run(
    command: process::Command,
    program: &OsString,
    limit: Option<Duration>,
) -> Result<Outcome, RunError> {
    let system = |what| move |error| RunError::System(what, error);
    // The console tells every program on it of Ctrl-C: the command ends by itself, and we are not to end before it.
    let mut interrupts = tokio::signal::windows::ctrl_c().map_err(system("take Ctrl-C"))?;
    tokio::spawn(async move { while interrupts.recv().await.is_some() {} });

    let mut command = CommandWrap::from(tokio::process::Command::from(command));
    // Also when we end before it.
    command.wrap(KillOnDrop).wrap(JobObject);
    let mut child = command.spawn().map_err(|error| RunError::of_start(program, error))?;
    // The job's own `wait` would wait for whatever the command has left behind.
    let ended = timeout(limit.unwrap_or(Duration::MAX), child.inner_mut().wait()).await;
    match ended {
        Ok(Ok(status)) => Ok(Outcome::Exited(status.code().unwrap_or(1))),
        Ok(Err(error)) => Err(RunError::System("wait for the command", error)),
        Err(_) => {
            child.start_kill().map_err(system("end the command"))?;
            Ok(Outcome::TimedOut)
        }
    }
}
