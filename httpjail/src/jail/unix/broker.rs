//! Makes the jail's connections to Unix sockets in init, in place of the jailed process.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::caller::ProcFs;
use super::registry::Registry;
use super::shared::Shared;
use super::unreported::Unreported;
use super::workers;
use crate::jail::protocol::init::Notify;
use crate::jail::sandbox::rights;
use crate::sys::notification::Listener;

/// Makes the jail's connections, once started.
#[derive(Debug)]
pub(crate) struct ConnectBroker(Shared);

impl ConnectBroker {
    /// Takes over the listener of [`crate::jail::sandbox::filter::Filter::watch`]. This thread keeps only the capabilities
    /// that it needs.
    ///
    /// # Errors
    /// The step that failed: a missing capability, or opening `/proc`.
    pub(crate) fn new(notify: Notify, listener: OwnedFd, allowed: &[OwnedFd]) -> io::Result<Self> {
        rights::keep_for_sockets(notify.users)?;
        let proc = ProcFs::open().map_err(|error| io::Error::other(format!("cannot open /proc: {error}")))?;
        Ok(ConnectBroker(Shared {
            listener: Listener::new(listener),
            registry: Registry::new(allowed)?,
            unreported: Unreported::default(),
            proc,
            user_namespace: notify.user_namespace,
            users: notify.users,
        }))
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// What keeps the first of them from working.
    pub(crate) fn start(self) -> io::Result<()> {
        // The registry holds a descriptor for each listener of the jail.
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
        workers::start(self.0)
    }
}

/// Answers calls on this thread until `until` can be read. Only the self-test uses it.
///
/// # Errors
/// Those of getting ready, and of `poll(2)`.
pub(super) fn serve_until(broker: &ConnectBroker, until: BorrowedFd<'_>) -> io::Result<()> {
    workers::serve_until(&broker.0, until)
}
