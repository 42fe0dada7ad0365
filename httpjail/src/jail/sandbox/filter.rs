//! The seccomp filter: the system calls that the command may not make, because they lead out past every other layer.
//!
//! The cgroup programs see IPv4 and IPv6 only; AF_PACKET, AF_VSOCK and others never reach them, so the filter has an
//! allow-list of address families. io_uring creates sockets behind a filter's back. setns(2) enters a container that
//! has a network. pidfd_getfd(2) takes a socket of another process. request_key(2) has the kernel run a program outside
//! the jail. TIOCSTI types into the caller's shell.
//!
//! ptrace(2) stays allowed: the PID namespace has only the jail's own processes, and strace and LeakSanitizer need it.
//! Nested user namespaces stay allowed: Chromium's sandbox needs them.

mod limits;
mod rules;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;

use libc::{AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, SOCK_DGRAM, SOCK_STREAM, sock_filter};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{BpfProgram, apply_filter};

use crate::sys::notification;
use rules::{Rules, other, program, rule};

/// Not in every libc: the multipath TCP protocol number.
const IPPROTO_MPTCP: u64 = 262;

/// SOCK_TYPE_MASK of include/linux/net.h: the rest of the word is flags.
const TYPE: u64 = 0xf;

/// The compiled filters, made before the fork so that nothing can fail for want of memory after it.
#[derive(Debug)]
pub(crate) struct Filter {
    programs: Vec<BpfProgram>,
    watch: Vec<sock_filter>,
}

impl Filter {
    /// Compiles the filters for this machine.
    ///
    /// # Errors
    /// None in practice: the rules are constant.
    pub(crate) fn compile() -> io::Result<Self> {
        let mut programs = vec![
            program(missing()?, libc::ENOSYS)?,
            program(forbidden()?, libc::EPERM)?,
            program(families()?, libc::EAFNOSUPPORT)?,
            program(protocols()?, libc::EPROTONOSUPPORT)?,
            program(limits::kept()?, 0)?,
        ];
        programs.extend(foreign_numbers());
        Ok(Filter {
            programs,
            watch: watched(),
        })
    }

    /// Compiles the filter of the process that holds the caller's terminal: it speaks to nobody new and starts nothing.
    ///
    /// # Errors
    /// None in practice: the rules are constant.
    pub(crate) fn of_approver() -> io::Result<Self> {
        let calls = [
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_io_uring_setup,
        ];
        let rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
        Ok(Filter {
            programs: vec![program(rules, libc::EPERM)?],
            watch: Vec::new(),
        })
    }

    /// Installs the filters on this thread and all that come of it. Also sets no_new_privs.
    ///
    /// # Errors
    /// Those of `seccomp(2)`; then the process must end.
    pub(crate) fn install(&self) -> io::Result<()> {
        self.programs
            .iter()
            .try_for_each(|program| apply_filter(program).map_err(|error| other("install", error)))
    }

    /// Installs the filter besides that has the jail's init make the calls by which Unix sockets are reached ([`crate::jail::unix`]),
    /// and returns where those calls arrive. From here on they wait until somebody answers there.
    ///
    /// # Errors
    /// Why this kernel, or this process, cannot have it.
    pub(crate) fn watch(&self) -> io::Result<OwnedFd> {
        notification::install(&self.watch).map_err(|error| match error.raw_os_error() {
            Some(libc::EBUSY) => {
                io::Error::other("an outer seccomp filter already sends notifications (a jail in a jail)")
            }
            Some(libc::EINVAL) => {
                io::Error::other("this kernel has no seccomp notifications (Linux 5.9 or newer is needed)")
            }
            _ => other("install", error),
        })
    }
}

/// Calls that answer "no such call", so that programs fall back to others.
fn missing() -> io::Result<Rules> {
    let calls = [
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
    ];
    Ok(calls.into_iter().map(|call| (call, Vec::new())).collect())
}

/// Calls that answer "not permitted".
fn forbidden() -> io::Result<Rules> {
    let calls = [
        libc::SYS_setns,
        libc::SYS_pidfd_getfd,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_open_by_handle_at,
        libc::SYS_kexec_load,
        libc::SYS_kexec_file_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
    ];
    let mut rules: Rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    // Compared in 32 bits: the kernel drops the rest, and TIOCSTI + 2^32 was a hole elsewhere (CVE-2019-10063).
    rules.insert(
        libc::SYS_ioctl,
        vec![
            rule(&[(1, MaskedEq(0xffff_ffff), libc::TIOCSTI)])?,
            rule(&[(1, MaskedEq(0xffff_ffff), libc::TIOCLINUX)])?,
        ],
    );
    Ok(rules)
}

/// Address families outside the four that a program needs; pairs are for AF_UNIX alone.
fn families() -> io::Result<Rules> {
    let allowed = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK];
    let socket = rule(&allowed.map(|family| (0, Ne, family as u64)))?;
    let pair = rule(&[(0, Ne, AF_UNIX as u64)])?;
    Ok(Rules::from([
        (libc::SYS_socket, vec![socket]),
        (libc::SYS_socketpair, vec![pair]),
    ]))
}

/// Within those families: TCP and UDP over IP, and the routing part of netlink (`getifaddrs` asks it).
fn protocols() -> io::Result<Rules> {
    let ip = |family: i32| (0, Eq, family as u64);
    let mut rules = vec![rule(&[ip(AF_NETLINK), (2, Ne, libc::NETLINK_ROUTE as u64)])?];
    for family in [AF_INET, AF_INET6] {
        for kind in (0..=TYPE).filter(|kind| ![SOCK_STREAM as u64, SOCK_DGRAM as u64].contains(kind)) {
            rules.push(rule(&[ip(family), (1, MaskedEq(TYPE), kind)])?);
        }
        let plain = [0, libc::IPPROTO_TCP as u64, libc::IPPROTO_UDP as u64];
        rules.push(rule(&[
            ip(family),
            (2, Ne, plain[0]),
            (2, Ne, plain[1]),
            (2, Ne, plain[2]),
        ])?);
        rules.push(rule(&[ip(family), (2, Eq, IPPROTO_MPTCP)])?);
    }
    Ok(Rules::from([(libc::SYS_socket, rules)]))
}

/// The calls that the jail's init makes: each that connects or listens (what the socket is, no register tells), and each that
/// makes a Unix socket for datagrams (there they do; SOCK_RAW is one too: net/unix/af_unix.c, `unix_create`). All else passes; a
/// foreign architecture has been dealt with by the other filters.
fn watched() -> Vec<sock_filter> {
    const NUMBER: u32 = 0;
    const FIRST_ARGUMENT: u32 = 16;
    const SECOND_ARGUMENT: u32 = 24;
    let statement = |bits: u32, k| sock_filter {
        code: bits as u16,
        jt: 0,
        jf: 0,
        k,
    };
    // The lower half of an argument, on a little-endian machine: both are `int`.
    let load = |from| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, from);
    let equal = |k: i64, jt, jf| sock_filter {
        jt,
        jf,
        ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k as u32)
    };
    let answer = |action| statement(libc::BPF_RET | libc::BPF_K, action);
    vec![
        load(NUMBER),
        equal(libc::SYS_connect, 10, 0),
        equal(libc::SYS_listen, 9, 0),
        equal(libc::SYS_socket, 1, 0),
        equal(libc::SYS_socketpair, 0, 6),
        load(FIRST_ARGUMENT),
        equal(AF_UNIX.into(), 0, 4),
        load(SECOND_ARGUMENT),
        statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, TYPE as u32),
        equal(SOCK_DGRAM.into(), 2, 0),
        equal(libc::SOCK_RAW.into(), 1, 0),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(libc::SECCOMP_RET_USER_NOTIF),
    ]
}

/// The x32 calls of x86-64 carry this bit and pass for the same architecture: all refused.
#[cfg(target_arch = "x86_64")]
fn foreign_numbers() -> Option<BpfProgram> {
    const X32_SYSCALL_BIT: u32 = 0x4000_0000;
    let code = |bits: u32| bits as u16;
    Some(vec![
        seccompiler::sock_filter {
            code: code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS),
            jt: 0,
            jf: 0,
            k: 0,
        },
        seccompiler::sock_filter {
            code: code(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K),
            jt: 0,
            jf: 1,
            k: X32_SYSCALL_BIT,
        },
        seccompiler::sock_filter {
            code: code(libc::BPF_RET | libc::BPF_K),
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
        },
        seccompiler::sock_filter {
            code: code(libc::BPF_RET | libc::BPF_K),
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ALLOW,
        },
    ])
}

#[cfg(not(target_arch = "x86_64"))]
fn foreign_numbers() -> Option<BpfProgram> {
    None
}
