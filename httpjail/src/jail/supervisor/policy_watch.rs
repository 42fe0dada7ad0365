//! A policy file that changes while the jail runs: seen by the supervisor, who may read it, and put in force by the proxy's
//! process, which may not.
//!
//! What the file says is not this module's business. The texts go over the line in a descriptor, for they can be long.

use std::io;
use std::time::{Duration, Instant};

use crate::jail::process::proxy::ProxyProcess;
use crate::jail::protocol::policy_file::{self, Change};

/// How often to look.
const PERIOD: Duration = Duration::from_secs(1);

/// Looks after the policy file.
pub(crate) trait PolicyWatch {
    /// What is new, if anything is.
    fn look(&mut self) -> Option<Change>;

    /// What is there, new or not: somebody asked for it.
    fn demand(&mut self) -> Change;
}

/// A watch that is looked at once in a while, and tells the proxy.
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

    /// When to look again, if at all.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.watch.is_some().then_some(self.next)
    }

    /// Looks, if it is time.
    pub(crate) fn look(&mut self, proxy_process: &ProxyProcess) -> io::Result<()> {
        let Some(watch) = &mut self.watch else { return Ok(()) };
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + PERIOD;
        watch
            .look()
            .map_or(Ok(()), |change| policy_file::send(&proxy_process.line, change))
    }

    /// Somebody asked (SIGHUP).
    pub(crate) fn demand(&mut self, proxy_process: &ProxyProcess) -> io::Result<()> {
        match &mut self.watch {
            Some(watch) => policy_file::send(&proxy_process.line, watch.demand()),
            None => Ok(()),
        }
    }
}
