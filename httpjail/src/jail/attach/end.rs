//! Why an attachment ends, and what signals ask of it.

use std::io;

use nix::sys::signal::Signal;

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

/// What the signals that arrived ask for.
#[derive(Default)]
pub(super) struct Asked {
    pub end: bool,
    pub reload: bool,
}

/// Reads the signals. SIGHUP does not detach: closing a terminal must not open the cgroup unnoticed.
///
/// # Errors
/// Those of reading them.
pub(super) fn asked(signals: &Signals) -> io::Result<Asked> {
    let mut asked = Asked::default();
    while let Some(signal) = signals.next()? {
        asked.end |= matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGQUIT);
        asked.reload |= signal == Signal::SIGHUP;
    }
    Ok(asked)
}
