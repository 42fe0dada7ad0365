//! The command's job object: what it starts is in it too, and all of it ends when the job is closed.

use std::ffi::OsString;
use std::process;
use std::time::Duration;

use process_wrap::tokio::{ChildWrapper, CommandWrap, JobObject, KillOnDrop};
use tokio::time::timeout;

use super::error::RunError;
use crate::backend::Outcome;

/// A command that runs in a job of its own.
pub(super) struct Child(Box<dyn ChildWrapper>);

impl Child {
    pub(super) fn spawn(command: process::Command, program: &OsString) -> Result<Child, RunError> {
        // The console tells every program on it of Ctrl-C: the command ends by itself, and we are not to end before it.
        let interrupts = tokio::signal::windows::ctrl_c();
        let mut interrupts = interrupts.map_err(|error| RunError::System("take Ctrl-C", error))?;
        tokio::spawn(async move { while interrupts.recv().await.is_some() {} });

        let mut command = CommandWrap::from(tokio::process::Command::from(command));
        // Also when we end before it.
        command.wrap(KillOnDrop).wrap(JobObject);
        let child = command.spawn().map_err(|error| RunError::of_start(program, error))?;
        Ok(Child(child))
    }

    pub(super) async fn wait(mut self, limit: Option<Duration>) -> Result<Outcome, RunError> {
        // The job's own `wait` would wait for whatever the command has left behind.
        let ended = timeout(limit.unwrap_or(Duration::MAX), self.0.inner_mut().wait()).await;
        match ended {
            Ok(Ok(status)) => Ok(Outcome::Exited(status.code().unwrap_or(1))),
            Ok(Err(error)) => Err(RunError::System("wait for the command", error)),
            Err(_) => {
                let killed = self.0.start_kill();
                killed.map_err(|error| RunError::System("end the command", error))?;
                Ok(Outcome::TimedOut)
            }
        }
    }
}
