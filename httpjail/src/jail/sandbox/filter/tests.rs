//! The filters as the kernel would run them: on every call, and on every family, type and protocol.

use super::*;
use libc::RLIMIT_CORE;

/// What the kernel does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Passes,
    Fails(i32),
    Killed,
}
use Answer::{Fails, Killed, Passes};

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;
/// i386 and 32-bit ARM (include/uapi/linux/audit.h).
const FOREIGN: [u32; 2] = [0x4000_0003, 0x4000_0028];

/// The answer of one program to `struct seccomp_data` (include/uapi/linux/seccomp.h): the part of BPF that filters use.
fn run(program: &BpfProgram, data: &[u8; 64]) -> u32 {
    let (mut at, mut word) = (0, 0_u32);
    loop {
        let step = &program[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
        match step.code {
            0x20 => {
                let from = step.k as usize;
                word = u32::from_ne_bytes(data[from..from + 4].try_into().unwrap());
            }
            0x54 => word &= step.k,
            0x05 => at += step.k as usize,
            0x15 => at += jump(word == step.k),
            0x25 => at += jump(word > step.k),
            0x35 => at += jump(word >= step.k),
            0x06 => return step.k,
            code => panic!("what is {code:#x}?"),
        }
    }
}

/// The answer of all: the strongest, and among equals that of the last one installed (kernel/seccomp.c, `seccomp_run_filters`).
fn answer(filter: &Filter, arch: u32, number: i64, arguments: [u64; 6]) -> Answer {
    let mut data = [0; 64];
    data[..4].copy_from_slice(&(number as u32).to_ne_bytes());
    data[4..8].copy_from_slice(&arch.to_ne_bytes());
    for (index, argument) in arguments.iter().enumerate() {
        data[16 + 8 * index..][..8].copy_from_slice(&argument.to_ne_bytes());
    }
    let action = |answer: u32| (answer & libc::SECCOMP_RET_ACTION_FULL).cast_signed();
    let answers = filter.programs.iter().rev().map(|program| run(program, &data));
    let strongest = answers.reduce(|first, next| if action(next) < action(first) { next } else { first });
    match strongest.unwrap() {
        libc::SECCOMP_RET_ALLOW => Passes,
        libc::SECCOMP_RET_KILL_PROCESS | libc::SECCOMP_RET_KILL_THREAD => Killed,
        other => Fails((other & libc::SECCOMP_RET_DATA).cast_signed()),
    }
}

fn of(filter: &Filter, number: i64, arguments: &[u64]) -> Answer {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    answer(filter, NATIVE, number, all)
}

// Proves: S24, S31, P11, P14, S03.
#[test]
fn what_fails_whatever_its_arguments() {
    let filter = Filter::compile().unwrap();
    let missing = [
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
    ];
    let forbidden = [
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
    for number in 0..600 {
        let wanted = match number {
            number if missing.contains(&number) => Fails(libc::ENOSYS),
            number if forbidden.contains(&number) => Fails(libc::EPERM),
            // Family 0, and pairs of it.
            libc::SYS_socket | libc::SYS_socketpair => Fails(libc::EAFNOSUPPORT),
            _ => Passes,
        };
        assert_eq!(of(&filter, number, &[]), wanted, "call {number}");
        // Of those that look at no argument none may.
        if ![
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_ioctl,
            libc::SYS_setrlimit,
            libc::SYS_prlimit64,
        ]
        .contains(&number)
        {
            assert_eq!(of(&filter, number, &[u64::MAX; 6]), wanted, "call {number}");
        }
    }
}

// Proves: S08, S09, S10, S11, S27, S28, S29, S33.
#[test]
fn sockets_are_of_few_families_types_and_protocols() {
    let filter = Filter::compile().unwrap();
    let number = |value: i32| u64::from(value.cast_unsigned());
    for family in 0..60 {
        for kind in 0..16 {
            for protocol in 0..300 {
                let of_ip = [AF_INET, AF_INET6].contains(&family);
                let plain = [SOCK_STREAM, SOCK_DGRAM].contains(&kind) && [0, 6, 17].contains(&protocol);
                let wanted = match family {
                    AF_UNIX => Passes,
                    AF_NETLINK if protocol == libc::NETLINK_ROUTE => Passes,
                    _ if of_ip && plain => Passes,
                    _ if of_ip || family == AF_NETLINK => Fails(libc::EPROTONOSUPPORT),
                    _ => Fails(libc::EAFNOSUPPORT),
                };
                for (flags, high) in [(0, 0), (libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 1 << 32)] {
                    // The kernel takes 32 bits of each: what is above may not deceive.
                    let arguments = [family, kind | flags, protocol].map(|value| number(value) | high);
                    let said = of(&filter, libc::SYS_socket, &arguments);
                    assert_eq!(said, wanted, "socket({family}, {kind} | {flags:#x}, {protocol})");
                }
            }
        }
        let pair = if family == AF_UNIX {
            Passes
        } else {
            Fails(libc::EAFNOSUPPORT)
        };
        assert_eq!(
            of(&filter, libc::SYS_socketpair, &[number(family), 1, 0]),
            pair,
            "{family}"
        );
    }
}

// Proves: P22, S32.
#[test]
fn keys_cannot_be_typed() {
    let filter = Filter::compile().unwrap();
    for request in [libc::TIOCSTI, libc::TIOCLINUX] {
        for high in [0, 1 << 32, u64::MAX << 32] {
            assert_eq!(of(&filter, libc::SYS_ioctl, &[0, request | high]), Fails(libc::EPERM));
        }
        for other in [request - 1, request + 1, request | 1 << 31, 0] {
            assert_eq!(of(&filter, libc::SYS_ioctl, &[0, other]), Passes);
        }
    }
}

// Proves: P32.
#[test]
fn the_limit_of_cores_is_set_by_nobody() {
    let filter = Filter::compile().unwrap();
    let core = u64::from(RLIMIT_CORE);
    let (given, none) = (0x7fff_0000_0000, 0);
    assert_eq!(of(&filter, libc::SYS_setrlimit, &[core, given]), Fails(0));
    assert_eq!(of(&filter, libc::SYS_prlimit64, &[0, core, given, 0]), Fails(0));
    assert_eq!(
        of(&filter, libc::SYS_prlimit64, &[0, core, none, given]),
        Passes,
        "asked, not set"
    );
    assert_eq!(of(&filter, libc::SYS_setrlimit, &[core + 1, given]), Passes);
    assert_eq!(of(&filter, libc::SYS_prlimit64, &[core, 0, given, 0]), Passes);
}

// Proves: S32.
#[test]
fn numbers_of_other_architectures_lead_nowhere() {
    let filter = Filter::compile().unwrap();
    for number in 0..600 {
        for arch in FOREIGN {
            assert_eq!(answer(&filter, arch, number, [0; 6]), Killed, "{number}");
        }
        #[cfg(target_arch = "x86_64")]
        {
            let x32 = answer(&filter, NATIVE, number | 0x4000_0000, [0; 6]);
            assert_eq!(x32, Fails(libc::ENOSYS), "{number}");
        }
    }
}

#[test]
fn who_holds_the_terminal_speaks_to_nobody_new() {
    let approver = Filter::of_approver().unwrap();
    for number in [
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
    ] {
        assert_eq!(of(&approver, number, &[]), Fails(libc::EPERM), "{number}");
    }
    for number in [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_sendmsg,
        libc::SYS_recvmsg,
        libc::SYS_exit_group,
    ] {
        assert_eq!(of(&approver, number, &[]), Passes, "{number}");
    }
}
