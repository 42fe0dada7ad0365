//! Unix sockets by identity: a jailed process reaches a listener of its own jail, or one that `--allow-socket` names, whatever
//! the name by which it asks.
//!
//! The covers of [`super::sandbox::sockets`] are by name, and names are renamed, linked, mounted elsewhere, or appear later. So
//! something in force while the command runs looks at the socket that a name leads to. Which one that is depends on the kernel
//! and on who starts the jail; it is chosen, and proved by a canary, before the command starts.

mod caller;
mod datagrams;
mod handler;
pub(crate) mod program;
mod registry;
pub(crate) mod self_test;
mod unreported;
mod workers;

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::sandbox::rights;
use crate::sys::notification::Listener;
use caller::Folder;
use handler::Shared;
use program::Program;
use registry::Registry;

/// What holds the Unix sockets of a jail.
#[derive(Debug)]
pub(crate) enum Held {
    /// Programs in the kernel look at the other socket's network namespace, and at who made a named pipe.
    Program(Program),
    /// The jail's init makes each connection itself, to listeners that it knows (seccomp notification). Of named pipes it knows
    /// nothing.
    Notify {
        /// Why there are no programs, for the user.
        because: String,
    },
    /// The covers alone, for the reasons given: what is renamed, linked or made later can be reached.
    Names {
        /// Why init does not make the connections.
        because: String,
        /// Why there are no programs.
        pipes: String,
    },
}

impl Held {
    /// Whether the socket itself is judged, and not its name.
    pub(crate) fn by_identity(&self) -> bool {
        !matches!(self, Held::Names { .. })
    }
}

/// The line of `doctor` and `-v`.
impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pipes = match self {
            Held::Program(program) => {
                f.write_str("unix sockets: by identity (kernel program)")?;
                program.pipes()
            }
            Held::Notify { because } => {
                f.write_str("unix sockets: by identity (seccomp notification)")?;
                Err(because.as_str())
            }
            Held::Names { because, pipes } => {
                write!(f, "unix sockets: by name only, because {because}")?;
                Err(pipes.as_str())
            }
        };
        match pipes {
            Ok(()) => f.write_str("; named pipes: by who made them (kernel program)"),
            Err(because) => write!(f, "; named pipes: those below /run alone, because {because}"),
        }
    }
}

/// What init must know to make the jail's connections itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notify {
    /// The jail has a user namespace of its own.
    pub user_namespace: bool,
    /// It knows more users than one.
    pub users: bool,
}

/// Makes the jail's connections, once started.
#[derive(Debug)]
pub(super) struct Keeper(Shared);

impl Keeper {
    /// Takes the listener of a [`super::sandbox::filter::Filter::watch`] over. This thread keeps only the rights that it needs.
    ///
    /// # Errors
    /// Naming the step: a right that cannot be had, or `/proc`.
    pub(super) fn new(notify: Notify, listener: OwnedFd, allowed: &[OwnedFd]) -> io::Result<Self> {
        rights::keep_for_sockets(notify.users)?;
        let proc = Folder::open().map_err(|error| io::Error::other(format!("/proc cannot be opened: {error}")))?;
        Ok(Keeper(Shared {
            listener: Listener::new(listener),
            registry: Registry::new(allowed)?,
            untold: unreported::Untold::default(),
            proc,
            user_namespace: notify.user_namespace,
            users: notify.users,
        }))
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// What keeps the first of them from working.
    pub(super) fn start(self) -> io::Result<()> {
        // A descriptor for each listener of the jail's is held.
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
        workers::start(self.0)
    }
}

/// Answers on this thread until `until` can be read: for the canary alone.
///
/// # Errors
/// Those of getting ready, and of `poll(2)`.
fn serve_until(keeper: &Keeper, until: BorrowedFd<'_>) -> io::Result<()> {
    workers::serve_until(&keeper.0, until)
}
