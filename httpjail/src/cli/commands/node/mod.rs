//! `httpjail node`: many jails under one roof, each held by a process of its own.
//!
//! The node is one small process of root's with one thread, which reads no byte of any jail's network. It closes cgroups, starts what holds
//! them (`httpjail attach`), and starts it again when it ends. When the node itself is killed, what it has started goes on, and the next
//! node finds it again (docs/decisions/0024-a-node-of-processes.md).
//!
//! A kind of child is a file that says which children are wanted ([`attachments`]).

mod attachments;
mod check;
mod child;
mod endpoint;
mod figures;
mod parents;
mod readiness_socket;
mod source;
mod state;
mod supervisor;
mod tree;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::attach::needs_root;
use crate::cli::args::Node;
use crate::failure::Failure;
use crate::jail::supervisor::signals::Signals;
use crate::logging;
use source::Source;
use supervisor::Supervisor;

pub(super) use state::{a_node_runs, forget};

/// Holds what the node file names, until a signal asks to end. Returns httpjail's exit status.
///
/// # Errors
/// What keeps it from starting; nothing has changed then.
pub(crate) fn run(options: &Node) -> Result<i32, Failure> {
    logging::init(0, None);
    let source = Source::new(options.dir.as_deref(), options.config.as_deref())?;
    let file = source.read()?;
    if options.check {
        return check::run(&source, &file);
    }
    needs_root("node")?;
    let signals = Signals::block().map_err(|error| Failure::new(format!("cannot take the signals: {error}")))?;
    // A descriptor for each child.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    let _lock = state::lock()?;
    Supervisor::start(source, file, signals)?.run(options.keep)
}
