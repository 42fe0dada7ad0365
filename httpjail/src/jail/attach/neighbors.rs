//! Finds what no program on a cgroup can see, so that httpjail names it when it attaches.
//!
//! A user who also has processes outside the cgroup may trace them or take their sockets. A user's network namespace
//! with a link to the outside may be entered, and any packet leaves by it. AF_VSOCK knows no cgroup. An attachment
//! cannot stop any of these, so httpjail warns and says what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use super::Target;
use super::frames::residents;
use crate::failure::Failure;

/// How many processes are named.
const NAMED: usize = 5;

/// CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN (`include/uapi/linux/capability.h`): with one of them a process can undo
/// the attachment or go around it.
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
const SYS_ADMIN: u64 = 1 << 21;
const STRONG: u64 = NET_ADMIN | NET_RAW | SYS_ADMIN;

/// A way around an attachment, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// What is not held, with the processes that it comes by.
    pub text: String,
    /// The remedy.
    pub hint: &'static str,
}

/// A process as `/proc` tells it.
struct Process {
    pid: Pid,
    name: String,
    uids: BTreeSet<u32>,
    capabilities: u64,
    /// What it may get by executing a program.
    bounds: u64,
    is_filtered: bool,
}

impl Process {
    /// One that has ended, or is a thread of the kernel, is none.
    fn read(pid: Pid) -> Option<Process> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let set = |name: &str| field(name).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        Some(Process {
            pid,
            name: field("Name:")?.to_owned(),
            // Only what has memory can be traced.
            uids: field("VmSize:")
                .and(field("Uid:"))?
                .split_whitespace()
                .flat_map(str::parse)
                .collect(),
            capabilities: set("CapEff:")?,
            bounds: set("CapBnd:")?,
            is_filtered: field("Seccomp:").is_some_and(|mode| mode == "2"),
        })
    }
}

/// Returns which rights over a network some of these processes have, or may get, and which processes.
pub(super) fn strong(processes: &[Pid]) -> Option<(String, String)> {
    let read: Vec<Process> = processes.iter().copied().filter_map(Process::read).collect();
    let strong: Vec<&Process> = read
        .iter()
        .filter(|process| (process.capabilities | process.bounds) & STRONG != 0)
        .collect();
    let found = strong
        .iter()
        .fold(0, |found, process| found | process.capabilities | process.bounds);
    (!strong.is_empty()).then(|| (rights(found & STRONG), named(&strong)))
}

/// `CAP_NET_ADMIN, CAP_SYS_ADMIN`.
fn rights(found: u64) -> String {
    let rights = [(NET_ADMIN, "NET_ADMIN"), (NET_RAW, "NET_RAW"), (SYS_ADMIN, "SYS_ADMIN")];
    let rights = rights.iter().filter(|(bit, _)| found & bit != 0);
    rights
        .map(|(_, name)| format!("CAP_{name}"))
        .collect::<Vec<_>>()
        .join(", ")
}

impl Target {
    /// Returns true if a process may write frames itself, or could after executing a program.
    pub(super) fn may_write_frames(&self) -> bool {
        self.inside()
            .iter()
            .any(|process| (process.capabilities | process.bounds) & STRONG != 0)
    }

    /// Refuses a container that could undo what holds it, or go around it. `network` is the network namespace whose devices are
    /// closed.
    ///
    /// # Errors
    /// Naming the right, and how to start it without.
    pub(crate) fn holds_container(&self, network: Option<u64>) -> Result<(), Failure> {
        // A host's devices cannot be closed, so there that right is too much.
        let (too_much, why) = match network {
            Some(_) => (NET_ADMIN | SYS_ADMIN, "they could undo what holds them"),
            None => (
                STRONG,
                "on the network of the host their own frames cannot be told from others'",
            ),
        };
        let inside = self.inside();
        let strong: Vec<&Process> = inside
            .iter()
            .filter(|process| (process.capabilities | process.bounds) & too_much != 0)
            .collect();
        let found = strong
            .iter()
            .fold(0, |found, process| found | process.capabilities | process.bounds)
            & too_much;
        if found == 0 {
            return Ok(());
        }
        let rights = [(NET_ADMIN, "NET_ADMIN"), (NET_RAW, "NET_RAW"), (SYS_ADMIN, "SYS_ADMIN")];
        let rights: Vec<&str> = rights
            .iter()
            .filter(|(bit, _)| found & bit != 0)
            .map(|(_, name)| *name)
            .collect();
        Err(Failure {
            hint: Some(format!(
                "start the container without --privileged and --cap-add, with --cap-drop {}; `--cgroup {}` holds it as far as it can \
                 be held",
                rights.join(" --cap-drop "),
                self.path().display()
            )),
            ..Failure::new(format!(
                "{} have CAP_{}, or may get it: {why}",
                named(&strong),
                rights.join(", CAP_")
            ))
        })
    }

    fn inside(&self) -> Vec<Process> {
        self.processes()
            .unwrap_or_default()
            .into_iter()
            .filter_map(Process::read)
            .collect()
    }

    /// What the programs do not see, of the processes that are in the cgroup now and of those that share their users. `network` is
    /// the network namespace whose devices are closed.
    pub(crate) fn doubts(&self, network: Option<u64>) -> Vec<Doubt> {
        let inside: BTreeSet<Pid> = self.processes().unwrap_or_default().into_iter().collect();
        let all: Vec<Process> = everybody().into_iter().filter_map(Process::read).collect();
        let (held, others): (Vec<Process>, Vec<Process>) =
            all.into_iter().partition(|process| inside.contains(&process.pid));
        let place = self.path().display();
        let mut doubts = Vec::new();
        doubts.extend(network.and_then(|network| strangers(network, &others, &place)));

        if network.is_some() && has_family("XDP") {
            let raw = held
                .iter()
                .filter(|process| (process.capabilities | process.bounds) & NET_RAW != 0);
            let raw: Vec<&Process> = raw.collect();
            // Such a socket's frames go right to the device (net/core/dev.c, `__dev_direct_xmit`): no hook is called.
            doubts.extend((!raw.is_empty()).then(|| Doubt {
                text: format!(
                    "{} in {place} have CAP_NET_RAW, or may get it: of frames, what is sent by an AF_XDP socket is not held",
                    named(&raw)
                ),
                hint: "start it without that right (--cap-drop NET_RAW), or with a system call filter that refuses AF_XDP",
            }));
        }
        let too_much = if network.is_some() { STRONG & !NET_RAW } else { STRONG };
        let strong: Vec<&Process> = held
            .iter()
            .filter(|process| process.capabilities & too_much != 0)
            .collect();
        if !strong.is_empty() {
            doubts.push(Doubt {
                text: format!(
                    "{} in {place} have {}: they could get around the programs, or leave the cgroup",
                    named(&strong),
                    if network.is_some() {
                        "CAP_NET_ADMIN or CAP_SYS_ADMIN"
                    } else {
                        "CAP_NET_ADMIN, CAP_NET_RAW or CAP_SYS_ADMIN"
                    }
                ),
                hint: "attach is for processes without these rights; `httpjail -- COMMAND` takes them away",
            });
        }
        let users: BTreeSet<u32> = held.iter().flat_map(|process| process.uids.iter().copied()).collect();
        for user in users.into_iter().filter(|user| *user != 0) {
            let theirs: Vec<&Process> = others.iter().filter(|process| process.uids.contains(&user)).collect();
            doubts.extend(shared(user, &theirs, &place));
            doubts.extend(networks(user, &theirs));
        }
        let unfiltered = held.is_empty() || held.iter().any(|process| !process.is_filtered);
        if unfiltered && has_vsock() {
            doubts.push(Doubt {
                text: format!(
                    "AF_VSOCK is no business of a cgroup's programs: from {place} this machine's hypervisor can be spoken to"
                ),
                hint: "a system call filter refuses it (systemd: RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6), or \
                       `httpjail -- COMMAND`",
            });
        }
        doubts
    }
}

/// Who is not in the cgroup, and cut off with it.
fn strangers(network: u64, others: &[Process], place: &impl std::fmt::Display) -> Option<Doubt> {
    let residents = residents(network);
    let found: Vec<&Process> = others
        .iter()
        .filter(|process| residents.contains(&process.pid))
        .collect();
    (!found.is_empty()).then(|| Doubt {
        text: format!(
            "{} are in the same network namespace but not in {place}: as long as it is attached to, they send nothing out of that \
             namespace",
            named(&found)
        ),
        hint: "attach to a cgroup that has them all (that of the pod), or give them a network of their own",
    })
}

fn shared(user: u32, theirs: &[&Process], place: &impl std::fmt::Display) -> Option<Doubt> {
    // 2: only with CAP_SYS_PTRACE; 3: nobody (Documentation/admin-guide/LSM/Yama.rst).
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    if theirs.is_empty() || matches!(scope.trim(), "2" | "3") {
        return None;
    }
    Some(Doubt {
        text: format!(
            "user {user} has processes outside of {place}, too: {}; one inside may trace those (ptrace) or take their sockets \
             (pidfd_getfd), which are not held",
            named(theirs)
        ),
        hint: "run what is to be held as a user of its own, or set kernel.yama.ptrace_scope=2; `httpjail -- COMMAND` holds it",
    })
}

/// Network namespaces that are the user's own to enter.
fn networks(user: u32, theirs: &[&Process]) -> Option<Doubt> {
    let namespace = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    let (ours, of_users) = (namespace("self", "net"), namespace("self", "user"));
    let mut found: BTreeMap<PathBuf, &Process> = BTreeMap::new();
    for process in theirs {
        let pid = process.pid.to_string();
        let (net, owner) = (namespace(&pid, "net"), namespace(&pid, "user"));
        if let Some(net) = net.filter(|net| Some(net) != ours.as_ref())
            && owner.is_some_and(|owner| Some(owner) != of_users)
        {
            found.entry(net).or_insert(process);
        }
    }
    let found: Vec<&Process> = found.into_values().collect();
    (!found.is_empty()).then(|| Doubt {
        text: format!(
            "user {user} has network namespaces outside ({}): one inside may enter them, and send packets of any kind there",
            named(&found)
        ),
        hint: "end them, or run what is to be held as another user",
    })
}

/// `processes 12 (sh), 13 (node) and 4 more`.
fn named(processes: &[&Process]) -> String {
    let each: Vec<String> = processes
        .iter()
        .take(NAMED)
        .map(|process| format!("{} ({})", process.pid, process.name.escape_debug()))
        .collect();
    let more = match processes.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let noun = if processes.len() == 1 { "process" } else { "processes" };
    format!("{noun} {}{more}", each.join(", "))
}

/// Whether the family is there. (It may be loaded by who asks for it; without a device there is no hypervisor to speak to.)
fn has_vsock() -> bool {
    Path::new("/dev/vsock").exists() || has_family("AF_VSOCK")
}

fn has_family(name: &str) -> bool {
    let families = fs::read_to_string("/proc/net/protocols").unwrap_or_default();
    families
        .lines()
        .any(|line| line.split_whitespace().next() == Some(name))
}

fn everybody() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    entries.filter_map(pid).map(Pid::from_raw).collect()
}
