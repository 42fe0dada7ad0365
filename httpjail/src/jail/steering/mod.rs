//! The one seam between a jail and the way its traffic is steered.
//!
//! Both kinds share the jail itself (namespaces, mounts, rights); they differ in who bends a connect towards the
//! proxy, and so who knows where it was meant to go.

pub(crate) mod cgroup;
pub(crate) mod ebpf;
pub(crate) mod hints;
pub(crate) mod netns;
pub(crate) mod select;
pub(crate) mod userns;

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;

use crate::audit::Record;
use crate::failure::Failure;
use crate::jail::protocol::init::Inside;
use crate::net::{AskedServerSource, Listeners, OriginalDstSource};

/// A step of steering that failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct SteeringError {
    /// What failed, on what, why.
    pub message: String,
    /// What the user can do about it.
    pub hint: Option<String>,
}

impl SteeringError {
    /// An error without a hint.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        SteeringError {
            message: message.into(),
            hint: None,
        }
    }
}

impl From<SteeringError> for Failure {
    fn from(error: SteeringError) -> Self {
        Failure {
            hint: error.hint,
            ..Failure::new(error.message)
        }
    }
}

/// What stopped something in the kernel and tells of it. Read by the proxy process, which holds the log.
pub(crate) trait EventSource: Send + 'static {
    /// A descriptor that becomes readable when there are events.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// The next event, if there is one.
    fn next(&mut self) -> Option<Stopped>;
}

/// Something that was stopped in the kernel.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// What it was.
    pub record: Record,
    /// The inode number of the socket that it came from, where the record knows no process.
    pub socket: Option<u32>,
}

/// What a run wants besides steering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extras {
    /// To know which name server each question was meant for (`--dns open`).
    pub asked_servers: bool,
    /// The `SO_MARK` of httpjail's own sockets that speak to listeners in the jail (`--publish`).
    pub publish_mark: Option<u32>,
}

/// A way of steering. Everything it has set up is undone when it is dropped; `disarm` does the same and reports.
pub(crate) trait Steering {
    /// Its name, as `--backend` spells it.
    fn name(&self) -> &'static str;

    /// The cgroup into which the jail's init is born, if it has one.
    fn cgroup(&self) -> Option<BorrowedFd<'_>>;

    /// Whether there is no jail without that cgroup.
    fn needs_cgroup(&self) -> bool {
        true
    }

    /// What init has to know, if it is init that makes the sockets and steers, from inside the jail's network namespace.
    fn inside(&self) -> Option<Inside> {
        None
    }

    /// Says what the run wants besides; called before [`Steering::arm`], if at all.
    ///
    /// # Errors
    /// When it has no such thing.
    fn want(&mut self, extras: Extras) -> Result<(), SteeringError>;

    /// Steers: from here on what the jail does reaches `listeners` or nothing.
    ///
    /// # Errors
    /// Naming the step; the jail must be ended.
    fn arm(&mut self, listeners: &Listeners) -> Result<(), SteeringError>;

    /// Tells where connections to these listeners were meant to go. Also called in the proxy's process, which holds only
    /// what [`Steering::proxy_keeps`] names.
    ///
    /// # Errors
    /// When it cannot be told from this process.
    fn original_dst(&self, listeners: &Listeners) -> Result<Arc<dyn OriginalDstSource>, SteeringError>;

    /// Tells which name servers were asked, where the datagrams do not; only where [`Extras::asked_servers`] was wanted.
    /// Called in the proxy's process.
    ///
    /// # Errors
    /// When it cannot be told from this process.
    fn asked_servers(&self) -> Result<Arc<dyn AskedServerSource>, SteeringError>;

    /// Tells what was stopped in the kernel, if it can. Called in the proxy's process, with the sockets it was
    /// handed.
    ///
    /// # Errors
    /// When the events cannot be read.
    fn events(&self, listeners: &mut Listeners) -> Result<Option<Box<dyn EventSource>>, SteeringError>;

    /// The descriptors that the proxy process needs for the three above; all others are closed in it.
    fn proxy_keeps(&self) -> Vec<RawFd>;

    /// Ends whatever still runs in the jail and removes all that was set up.
    ///
    /// # Errors
    /// Naming what is left.
    fn disarm(&mut self) -> io::Result<()>;
}
