//! Reloads a policy file that changes while the jail runs: the supervisor, which may read it, watches it and sends it
//! to the proxy's process, which may not.
//!
//! This module does not look at what the file says.

use std::io;
use std::time::{Duration, Instant};

use crate::jail::process::proxy::ProxyProcess;
use crate::jail::protocol::policy_file::{self, Change};

/// How often the file is checked.
const PERIOD: Duration = Duration::from_secs(1);

/// Watches the policy file.
pub(crate) trait PolicyWatch {
    /// Returns what has changed, if anything has.
    fn look(&mut self) -> Option<Change>;

    /// Returns what the file says now, changed or not.
    fn demand(&mut self) -> Change;
}

/// Polls a [`PolicyWatch`] and sends changes to the proxy's process.
pub(crate) struct PolicyPoller<'a> {
    watch: Option<&'a mut dyn PolicyWatch>,
    next: Instant,
}

impl<'a> PolicyPoller<'a> {
    pub(crate) fn new(watch: Option<&'a mut dyn PolicyWatch>) -> PolicyPoller<'a> {
        PolicyPoller {
            watch,
            next: Instant::now() + PERIOD,
        }
    }

    /// Returns when to look again, if at all.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.watch.is_some().then_some(self.next)
    }

    /// Checks the file, if it is time.
    pub(crate) fn look(&mut self, proxy_process: &ProxyProcess) -> io::Result<()> {
        let Some(watch) = &mut self.watch else { return Ok(()) };
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + PERIOD;
        watch
            .look()
            .map_or(Ok(()), |change| policy_file::send(&proxy_process.channel, change, None))
    }

    /// Sends the policy now: after SIGHUP, or because the proxy's process asks for it by this number.
    pub(crate) fn demand(&mut self, proxy_process: &ProxyProcess, request_id: Option<u64>) -> io::Result<()> {
        match &mut self.watch {
            Some(watch) => policy_file::send(&proxy_process.channel, watch.demand(), request_id),
            None => Ok(()),
        }
    }
    /// Sends the policy if the proxy's process has asked for it ([`ProxyProcess::answer`]).
    ///
    /// # Errors
    /// A text for the user.
    pub(crate) fn answer(&mut self, proxy_process: &ProxyProcess, asked: Option<u64>) -> Result<(), String> {
        let sent = asked.map_or(Ok(()), |_| self.demand(proxy_process, asked));
        sent.map_err(|error| format!("the proxy ended: {error}"))
    }
}
