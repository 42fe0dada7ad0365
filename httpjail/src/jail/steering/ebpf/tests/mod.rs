//! The programs in the kernel, tried from inside. These need root and cgroup v2; elsewhere each prints that it was skipped.
//!
//! [`lab::Lab`] is a jail in little: a network namespace with nothing but `lo`, a cgroup with the programs on it, a proxy that
//! answers each connection with the flow it took, and a resolver that answers each datagram. Probes are Python programs in the
//! cgroup, because they must be processes and make calls that no Rust library makes.

mod attach;
mod backstop;
mod cost;
mod lab;
mod model;
mod refused;
mod steered;

pub(super) use model::read_array;
