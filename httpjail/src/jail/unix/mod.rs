//! Unix sockets by identity: a jailed process reaches a listener of its own jail, or one that `--allow-socket` names, whatever
//! the name by which it asks.
//!
//! The covers of [`super::sandbox::sockets`] are by name, and names are renamed, linked, mounted elsewhere, or appear later. So
//! something in force while the command runs looks at the socket that a name leads to. Which one that is depends on the kernel
//! and on who starts the jail; it is chosen, and proved by a canary, before the command starts.

pub mod program;

use std::fmt;

use super::sandbox::Sandbox;
use program::Program;

/// What holds the Unix sockets of a jail.
#[derive(Debug)]
pub enum Held {
    /// A program in the kernel compares the other socket's network namespace. In force as long as the value lives.
    Program(Program),
    /// The jail's init makes each connection itself, to listeners that it knows (seccomp notification).
    Notify,
    /// The covers alone, for the reason given: what is renamed, linked or made later can be reached.
    Names {
        /// Why nothing better could be had, for the user.
        because: String,
    },
}

impl Held {
    /// Takes the strongest way that works for this jail, whose mounts are arranged and whose command has not started.
    pub(super) fn choose(sandbox: &Sandbox) -> Self {
        match Program::attach(sandbox) {
            Ok(program) => Held::Program(program),
            Err(because) => Held::Names { because },
        }
    }

    /// Whether the socket itself is judged, and not its name.
    pub fn by_identity(&self) -> bool {
        !matches!(self, Held::Names { .. })
    }
}

/// The line of `doctor` and `-v`.
impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Held::Program(_) => f.write_str("unix sockets: by identity (kernel program)"),
            Held::Notify => f.write_str("unix sockets: by identity (seccomp notification)"),
            Held::Names { because } => write!(f, "unix sockets: by name only, because {because}"),
        }
    }
}
