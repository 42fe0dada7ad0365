//! The last steps of a jail of a pool: it serves, waits for a client, and starts the client's command.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use super::{Armed, Jail, SpawnError};
use crate::failure::Failure;
use crate::jail::process::approver::ApproverProcess;
use crate::jail::protocol::init::{InitRequest, Taken};
use crate::jail::protocol::pool::SpareEnd;
use crate::jail::supervisor::Running;
use crate::jail::supervisor::client::{Client, Given};
use crate::jail::supervisor::policy_watch::{PolicyPoller, PolicyWatch};
use crate::jail::supervisor::signals::Signals;
use crate::jail::supervisor::standby::{self, Arrival};
use crate::sys::memory;
use crate::sys::terminal::inner_end;

impl Jail<Armed> {
    /// Has the proxy serve the jail's sockets already, before there is a command.
    ///
    /// # Errors
    /// The step that failed.
    pub(crate) fn serve(&mut self) -> Result<(), Failure> {
        self.proxy_process.serve(std::mem::take(&mut self.listeners))?;
        // What only the start needed.
        memory::give_back();
        Ok(())
    }

    /// Waits until a client takes the jail, which serves already.
    ///
    /// # Errors
    /// Why the jail has ended.
    pub(crate) fn stand_by(
        &self,
        pool: &SpareEnd,
        signals: &Signals,
        watch: Option<&mut dyn PolicyWatch>,
        open_log: &dyn Fn() -> io::Result<File>,
    ) -> Result<Option<Arrival>, Failure> {
        standby::wait(
            pool,
            &self.sandbox,
            &self.proxy_process,
            signals,
            PolicyPoller::new(watch),
            open_log,
        )
    }

    /// Starts the command of the client who has taken the jail, which serves already.
    ///
    /// # Errors
    /// The step that failed. The jail is removed.
    pub(crate) fn hand(
        self,
        signals: Signals,
        approver: Option<ApproverProcess>,
        taken: Taken,
        given: &Given,
        client: Client,
    ) -> Result<Running, SpawnError> {
        self.sandbox.request_with(&InitRequest::Take(taken), &given.raw())?;
        let terminal = match client.has_terminal() {
            true => Some(self.terminal()?),
            false => None,
        };
        let foreground = terminal.is_some();
        let inner = terminal.as_ref().map(|outer| inner_end(outer.as_fd())).transpose();
        let inner = inner.map_err(|error| Failure::new(format!("cannot open the jail's terminal: {error}")))?;
        let screen = inner.as_ref().map_or(given.standard[2].as_fd(), AsFd::as_fd);
        self.proxy_process.show_on(screen)?;
        self.start_command(foreground)?;
        client.tell_start(terminal);
        let running = Running::new(
            self.sandbox,
            self.proxy_process,
            self.steering,
            self.sockets,
            signals,
            approver,
            false,
        );
        Ok(running.of(client))
    }
}
