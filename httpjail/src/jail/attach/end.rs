//! Why an attachment ends, and what signals ask of it.

use std::fs::File;
use std::io;

use nix::sys::signal::Signal;

use crate::jail::process::proxy::ProxyProcess;
use crate::jail::supervisor::policy_watch::PolicyPoller;
use crate::jail::supervisor::signals::Signals;

/// Why [`super::Attachment::watch`] returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// A signal asked to detach.
    Asked,
    /// The cgroup was removed.
    Gone,
    /// Another cgroup was removed, with which the attachment ends.
    Left,
    /// A part failed. The cgroup stays closed.
    Failed(String),
}

/// What each attachment attends to while it holds.
pub(super) struct Attended<'a, 'watch> {
    pub proxy_process: &'a ProxyProcess,
    pub signals: &'a Signals,
    pub poller: PolicyPoller<'watch>,
    /// Opens the request log again.
    pub open_log: &'a dyn Fn() -> io::Result<File>,
}

impl Attended<'_, '_> {
    /// Answers the proxy, if it `asks`, does what the signals that have come want, and looks at the policy file when it is time.
    /// `ancestors` as for [`ProxyProcess::answer`]. Returns how the attachment ends, if it does.
    pub(super) fn attend(
        &mut self,
        asks: bool,
        signaled: bool,
        ancestors: impl FnOnce(u32) -> Option<Vec<u32>>,
    ) -> Option<End> {
        if asks {
            let answered = self.proxy_process.answer(ancestors, |_, _| None, self.open_log);
            if let Err(message) = answered.and_then(|asked| self.poller.answer(self.proxy_process, asked)) {
                return Some(End::Failed(message));
            }
        }
        if signaled {
            match asked(self.signals) {
                Ok(Asked { end: true, .. }) => return Some(End::Asked),
                Ok(Asked { reload: true, .. }) if self.poller.demand(self.proxy_process, None).is_err() => {
                    return Some(End::Failed("the proxy ended".to_owned()));
                }
                Ok(_) => {}
                Err(error) => return Some(End::Failed(format!("cannot read the signals: {error}"))),
            }
        }
        let looked = self.poller.look(self.proxy_process);
        looked
            .err()
            .map(|error| End::Failed(format!("the proxy ended: {error}")))
    }
}

/// What the signals that arrived ask for.
#[derive(Default)]
struct Asked {
    end: bool,
    reload: bool,
}

/// Reads the signals. SIGHUP does not detach: closing a terminal must not open the cgroup unnoticed.
///
/// # Errors
/// Those of reading them.
fn asked(signals: &Signals) -> io::Result<Asked> {
    let mut asked = Asked::default();
    while let Some(signal) = signals.next()? {
        asked.end |= matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGQUIT);
        asked.reload |= signal == Signal::SIGHUP;
    }
    Ok(asked)
}
