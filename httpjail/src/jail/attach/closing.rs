//! What is known of a cgroup before it is closed.

use crate::jail::steering::ebpf::Loaded;

/// How [`super::Attachment::close`] closes a cgroup.
#[derive(Default)]
pub(crate) struct Closing {
    /// Whether a policy may name the host's loopback.
    pub host_loopback: bool,
    /// Programs that are loaded already.
    pub programs: Option<Loaded>,
    /// Whether it is new, at the place of one that was held: then it stays closed if anything fails.
    pub again: bool,
    /// Whether an OCI runtime is about to start its processes, with no right by which they could write frames. Then the devices stay
    /// open, for the engine too: docker's name server asks others by sockets in the container's network.
    pub born: bool,
}
