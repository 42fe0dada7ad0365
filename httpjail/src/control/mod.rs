//! The control socket: one for each jail, attachment and `serve`, by which its owner, and nobody else, asks how it is, and has it
//! look at its policy file.
//!
//! It lies in a directory of the owner's alone, below `/run`, and no jail reaches it, as no Unix socket of the host
//! (docs/decisions/0023-a-control-socket-for-each-run.md). On systems other than Linux there is none.
//!
//! A program that looks after many of them uses [`client`]:
//!
//! ```ignore
//! for (run, told) in client::ask_all(client::all(&home)?, Ask::Status) {
//!     if let Ok(Told::Status(status)) = told {
//!         println!("{} has {} rules", run.name, status.policy.in_force.rules);
//!     }
//! }
//! ```

#[cfg(target_os = "linux")]
pub(crate) mod client;
#[cfg(target_os = "linux")]
pub(crate) mod directory;
#[cfg(target_os = "linux")]
pub(crate) mod metrics;
pub(crate) mod protocol;
#[cfg(target_os = "linux")]
pub(crate) mod server;
