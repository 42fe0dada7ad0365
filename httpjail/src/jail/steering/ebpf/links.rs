//! The hooks, and the links that keep programs attached to a cgroup.

use super::BpfError;
use crate::sys::bpf;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// One hook: the program's name in the object, and where the kernel runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hook {
    /// The program's name.
    pub name: &'static str,
    /// `BPF_PROG_TYPE_*`.
    pub(super) prog_type: u32,
    /// `BPF_CGROUP_*`, as its expected attach type and as where it goes.
    pub(super) attach_type: u32,
}

const SKB: u32 = 8;
const SOCK: u32 = 9;
const SOCK_OPS: u32 = 13;
const SOCK_ADDR: u32 = 18;
const SOCKOPT: u32 = 25;

/// Every hook, in the order of attaching: the backstop first, so that on a cgroup with life in it nothing leaves from the
/// first moment on. The numbers are those of `enum bpf_attach_type` in include/uapi/linux/bpf.h.
pub(crate) const HOOKS: [Hook; 13] = [
    Hook {
        name: "egress",
        prog_type: SKB,
        attach_type: 1,
    },
    Hook {
        name: "ingress",
        prog_type: SKB,
        attach_type: 0,
    },
    Hook {
        name: "sock_create",
        prog_type: SOCK,
        attach_type: 2,
    },
    Hook {
        name: "sock_ops",
        prog_type: SOCK_OPS,
        attach_type: 3,
    },
    Hook {
        name: "connect4",
        prog_type: SOCK_ADDR,
        attach_type: 10,
    },
    Hook {
        name: "connect6",
        prog_type: SOCK_ADDR,
        attach_type: 11,
    },
    Hook {
        name: "sendmsg4",
        prog_type: SOCK_ADDR,
        attach_type: 14,
    },
    Hook {
        name: "sendmsg6",
        prog_type: SOCK_ADDR,
        attach_type: 15,
    },
    Hook {
        name: "recvmsg4",
        prog_type: SOCK_ADDR,
        attach_type: 19,
    },
    Hook {
        name: "recvmsg6",
        prog_type: SOCK_ADDR,
        attach_type: 20,
    },
    Hook {
        name: "setsockopt",
        prog_type: SOCKOPT,
        attach_type: 22,
    },
    Hook {
        name: "getpeername4",
        prog_type: SOCK_ADDR,
        attach_type: 29,
    },
    Hook {
        name: "getpeername6",
        prog_type: SOCK_ADDR,
        attach_type: 30,
    },
];

/// What holds the programs on a cgroup. Dropping it detaches them all: the cgroup is then open, so drop it only when nothing
/// lives in there any more (or where, as in a namespace of ours, there is nowhere to go).
#[derive(Debug)]
pub(crate) struct Links {
    links: Vec<(Hook, OwnedFd)>,
}

impl Links {
    /// Attaches every program. When one fails, those before it are detached again.
    pub(super) fn attach(programs: &[(Hook, OwnedFd)], cgroup: BorrowedFd<'_>) -> Result<Self, BpfError> {
        let mut links = Vec::with_capacity(programs.len());
        for (hook, program) in programs {
            let link =
                bpf::link_create(program.as_fd(), cgroup, hook.attach_type).map_err(|source| BpfError::Attach {
                    hook: hook.name,
                    source,
                })?;
            links.push((*hook, link));
        }
        Ok(Links { links })
    }

    /// Pins each link as a file named after its hook into a directory on a bpffs, so that the programs stay when httpjail
    /// dies. Removing the files (and dropping this) detaches, a moment later. On a failure the pins made before it are removed.
    ///
    /// # Errors
    /// EPERM if the directory is not on a bpffs, EEXIST if a pin of that name is there.
    pub(crate) fn pin(&self, directory: &Path) -> Result<(), BpfError> {
        for (index, (hook, link)) in self.links.iter().enumerate() {
            let path = directory.join(hook.name);
            if let Err(source) = bpf::obj_pin(link.as_fd(), &path) {
                for (hook, _) in &self.links[..index] {
                    let _ = std::fs::remove_file(directory.join(hook.name));
                }
                return Err(BpfError::Pin { path, source });
            }
        }
        Ok(())
    }

    /// How many programs are attached to a cgroup at our hooks, anybody's; each run of httpjail adds as many as there are
    /// [`HOOKS`].
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN.
    pub(crate) fn attached(cgroup: BorrowedFd<'_>) -> std::io::Result<u32> {
        HOOKS
            .iter()
            .map(|hook| bpf::attached_count(cgroup, hook.attach_type))
            .sum()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }
}
