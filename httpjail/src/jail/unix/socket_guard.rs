//! How the Unix sockets of a jail are guarded, and how `doctor` and `-v` say it.

use std::fmt;

use super::program::Program;

/// What keeps Unix sockets of the host out of a jail's reach.
#[derive(Debug)]
pub(crate) enum SocketGuard {
    /// Programs in the kernel check the network namespace of the other socket, and which jail made a named pipe.
    Program(Program),
    /// The jail's init makes each connection itself, to listeners that it knows (seccomp notification). It does not guard
    /// named pipes.
    Notify {
        /// Why there are no programs, for the user.
        because: String,
    },
    /// Only the mounts that cover sockets: a socket that is renamed, linked or made later can be reached.
    Names {
        /// Why init does not make the connections.
        because: String,
        /// Why there are no programs.
        pipes: String,
    },
}

impl SocketGuard {
    /// Returns true if the socket itself is checked, and not its name.
    pub(crate) fn by_identity(&self) -> bool {
        !matches!(self, SocketGuard::Names { .. })
    }
}

/// The line of `doctor` and `-v`.
impl fmt::Display for SocketGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pipes = match self {
            SocketGuard::Program(program) => {
                f.write_str("unix sockets: by identity (kernel program)")?;
                program.pipes()
            }
            SocketGuard::Notify { because } => {
                f.write_str("unix sockets: by identity (seccomp notification)")?;
                Err(because.as_str())
            }
            SocketGuard::Names { because, pipes } => {
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
