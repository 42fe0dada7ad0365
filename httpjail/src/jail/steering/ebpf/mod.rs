//! Steering by programs on a cgroup (`ebpf`): they redirect the jail's connections to the proxy and deny everything
//! else.
//!
//! [`Programs::load`] loads the object into the kernel, [`Programs::attach`] attaches it to a cgroup, and
//! [`Programs::configure`] arms it. Until then, and after any failure, everything in the cgroup is denied: a new
//! configuration map is all zeroes. The unprivileged proxy gets [`Flows`] and [`Events`]: two descriptors, with which
//! it can read flows and events and nothing else.

mod events;
mod flows;
mod inbound;
pub(crate) mod kernel;
mod links;
mod object;
mod steering;
#[cfg(test)]
mod tests;

pub(crate) use events::Events;
pub(crate) use flows::{Asked, Flows};
pub(crate) use links::{HOOKS, Links};
pub(crate) use object::Programs;
pub(crate) use steering::{EbpfSteering, Loaded};

use std::io;
use std::path::PathBuf;

/// What went wrong between the object and an armed jail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BpfError {
    /// The object is none, or lacks something.
    #[error("read the BPF object: {0}")]
    Object(String),
    /// The file that HTTPJAIL_BPF_OBJECT names.
    #[error("read the BPF object {path} (from HTTPJAIL_BPF_OBJECT): {source}")]
    ObjectFile {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel did not take the object's type information.
    #[error("load the BPF object's type information: {source}{}", hint(source))]
    Types {
        /// Why.
        source: io::Error,
    },
    /// A map could not be made.
    #[error("create the BPF map {map}: {source}{}", hint(source))]
    Map {
        /// Its name.
        map: String,
        /// Why.
        source: io::Error,
    },
    /// The verifier refused a program.
    #[error("load the BPF program {hook}: {source}{}{}", hint(source), log_text(log))]
    Program {
        /// Its name.
        hook: &'static str,
        /// Why.
        source: io::Error,
        /// The end of the verifier's log.
        log: String,
    },
    /// A program could not be attached.
    #[error("attach the BPF program {hook} to the cgroup: {source}{}", attach_hint(source))]
    Attach {
        /// Its name.
        hook: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A link could not be pinned.
    #[error("pin the BPF link {}: {source}", path.display())]
    Pin {
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A map could not be read or written.
    #[error("{operation} the BPF map {map}: {source}")]
    Access {
        /// `read` or `write`.
        operation: &'static str,
        /// Its name.
        map: &'static str,
        /// Why.
        source: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            " (needs root, or CAP_NET_ADMIN with CAP_SYS_ADMIN or CAP_BPF and CAP_PERFMON)"
        }
        Some(libc::EINVAL) => " (the kernel may be too old: Linux 5.19 is needed)",
        Some(libc::ENOSYS) => " (the kernel was built without BPF)",
        _ => "",
    }
}

fn attach_hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => " (no CAP_NET_ADMIN, or another program holds a parent cgroup exclusively)",
        Some(libc::EINVAL) => " (the kernel does not know this hook: Linux 5.19 is needed)",
        Some(libc::EBADF) => " (not a cgroup v2 directory)",
        _ => "",
    }
}

fn log_text(log: &str) -> String {
    if log.is_empty() {
        String::new()
    } else {
        format!("\n{log}")
    }
}
