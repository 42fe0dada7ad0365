//! The control socket: one for each jail, attachment and `serve`, by which its owner, and nobody else, asks how it is, and has it
//! look at its policy file.
//!
//! It lies in a directory of the owner's alone, below `/run`, and no jail reaches it, as no Unix socket of the host
//! (docs/decisions/0023-a-control-socket-for-each-run.md). On systems other than Linux there is none.

#[cfg(target_os = "linux")]
pub(crate) mod directory;
pub(crate) mod protocol;
#[cfg(target_os = "linux")]
pub(crate) mod server;
