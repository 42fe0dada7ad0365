//! The programs that keep a cgroup closed: they drop each packet of a socket, unless a cgroup that the socket is in, or one above that, is
//! held by programs of its own.
//!
//! Packets of a socket are judged by the cgroup in which the socket was made, whoever sends them and in whatever context. So the
//! programs ask for that one's ancestors (`bpf_skb_ancestor_cgroup_id`), and never for those of the current process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::failure::Failure;
use crate::jail::kernel::assembler::{Code, Helper, Instruction, Label};
use crate::sys::bpf::{self, Map, MapDef};

/// How far down a cgroup can be held: the root is at level 0, its children are at 1. What is further down stays closed.
pub(super) const DEEPEST: usize = 12;

const BPF_MAP_TYPE_HASH: u32 = 1;
/// An entry takes memory only when it is made.
const BPF_F_NO_PREALLOC: u32 = 1;
/// Below one closed cgroup no more are held.
const HELD_MAX: u32 = 16384;
const BPF_PROG_TYPE_CGROUP_SKB: u32 = 8;
/// `BPF_CGROUP_INET_EGRESS`, `BPF_CGROUP_INET_INGRESS`. What leaves is stopped first.
pub(super) const HOOKS: [(&str, u32); 2] = [("egress", 1), ("ingress", 0)];

/// The ids of cgroups that are held by programs of their own.
pub(super) type Held = Map<u64, u32>;

/// The programs, in the kernel, and the map that they read. They do nothing until they are attached.
pub(super) struct Programs {
    programs: [OwnedFd; 2],
    pub held: Held,
}

impl Programs {
    /// Loads them, with a map of their own.
    ///
    /// # Errors
    /// Those of a kernel without what is needed.
    pub(super) fn load() -> Result<Programs, Failure> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Failure::new(format!(
                "cannot load the programs that keep a cgroup closed: {what}: {error}"
            ))
        };
        let def = MapDef {
            map_type: BPF_MAP_TYPE_HASH,
            key_size: size_of::<u64>() as u32,
            value_size: size_of::<u32>() as u32,
            max_entries: HELD_MAX,
            flags: BPF_F_NO_PREALLOC,
            types: None,
        };
        let held = bpf::map_create("held", &def).map_err(|error| failed("the map", &error))?;
        let code = instructions(held.as_fd()).map_err(|error| failed("the instructions", &error))?;
        let load = |(name, attach_type): (&str, u32)| {
            let load =
                |log: &mut [u8]| bpf::prog_load(name, BPF_PROG_TYPE_CGROUP_SKB, attach_type, 0, &code, c"GPL", log);
            load(&mut []).map_err(|error| {
                // Once more, for the verifier's words.
                let mut log = vec![0; 1 << 16];
                let _ = load(&mut log);
                tracing::debug!("the verifier: {}", bpf::log_tail(&log));
                failed(name, &error)
            })
        };
        let programs = [load(HOOKS[0])?, load(HOOKS[1])?];
        let held = Map::new(held).map_err(|error| failed("the map", &error))?;
        Ok(Programs { programs, held })
    }

    /// Attaches them to a cgroup, as long as one has the links.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn attach(&self, cgroup: BorrowedFd<'_>) -> std::io::Result<[OwnedFd; 2]> {
        let link = |index: usize| bpf::link_create(self.programs[index].as_fd(), cgroup, HOOKS[index].1);
        Ok([link(0)?, link(1)?])
    }
}

/// The program, the same for both hooks: 1 lets a packet pass, 0 drops it.
fn instructions(held: BorrowedFd<'_>) -> Result<Vec<Instruction>, String> {
    const PACKET: u8 = 6;
    const ID: i16 = -8;
    let mut code = Code::default();
    code.copy(PACKET, 1);
    for level in 1..=DEEPEST {
        code.copy(1, PACKET);
        code.set(2, level as i32);
        code.call(Helper::PacketAncestor);
        // The socket's cgroup is not as far down, or the packet has no socket.
        code.if_zero(0, Label::Refuse);
        code.store(ID, 0);
        code.set_map(1, held);
        code.set_address(2, ID);
        code.call(Helper::MapLookup);
        code.if_not(0, 0, Label::Allow);
    }
    code.answer(0, 1)
}
