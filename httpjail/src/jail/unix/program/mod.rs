//! Guards Unix sockets and FIFOs by programs in the kernel, which only root may load. The kernel calls them at each
//! connect to a Unix socket, each datagram to one, and each opening of a FIFO. They refuse a jailed process what does
//! not belong to its jail.
//!
//! The programs change the result of the functions that ask the security modules (`fmod_ret`). So they do not need
//! `bpf` among those modules, as LSM programs would: where `bpf` is missing, LSM programs attach without an error and
//! are never called. The programs see the socket and the file themselves, so names do not matter. TCP does not pass by
//! them.

mod inode;
mod jailed;
mod link_holder;
mod pipes;
mod sockets;

use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use nix::unistd::Pid;

use crate::jail::kernel::BPF_PROG_TYPE_TRACING;
use crate::jail::kernel::assembler::Instruction;
use crate::jail::kernel::btf::Types;
use inode::Inode;
use jailed::Names;
use link_holder::Holder;
use pipes::Known;
use sockets::Hook;

use crate::jail::sandbox::rights;
use crate::sys::bpf::{self, KERNEL_TYPES};

/// Every structure that is looked into.
const STRUCTURES: [&str; 12] = [
    "dentry",
    "file",
    "inode",
    "net",
    "nsproxy",
    "pid_namespace",
    "sock",
    "socket",
    "super_block",
    "task_struct",
    "unix_sock",
    "user_namespace",
];

/// `enum bpf_attach_type`.
const BPF_TRACE_FEXIT: u32 = 25;
const BPF_MODIFY_RETURN: u32 = 26;

/// The attached programs. Dropped, they are detached.
#[derive(Debug)]
pub(crate) struct Program {
    /// They stay until each descriptor of these is closed, here and in the holder.
    _links: Vec<OwnedFd>,
    _holder: Holder,
    pipes: Result<(), String>,
}

impl Program {
    /// Attaches them for the jail of this `init`, whose pidfd is `ended` and which may reach the `allowed` sockets besides its own.
    ///
    /// # Errors
    /// Why this kernel, or this caller, cannot have those for sockets: the next way is taken then.
    pub(crate) fn attach(
        init: Pid,
        ended: BorrowedFd<'_>,
        user_namespace: bool,
        allowed: &[PathBuf],
    ) -> Result<Self, String> {
        if !rights::missing_for_programs().is_empty() {
            return Err("only root may load programs into the kernel".into());
        }
        // Most of the time that this takes goes into the types.
        if bpf::prog_load(
            "httpjail_trial",
            BPF_PROG_TYPE_TRACING,
            BPF_MODIFY_RETURN,
            1,
            &[0_u64],
            c"GPL",
            &mut [],
        )
        .is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
        {
            return Err("this kernel refuses programs on its own functions".into());
        }
        let number = |name: &str| -> Result<u32, String> {
            let about = fs::metadata(format!("/proc/{}/ns/{name}", init));
            let about = about.map_err(|error| format!("cannot inspect the jail's {name} namespace: {error}"))?;
            u32::try_from(about.ino()).map_err(|_| format!("the {name} namespace has no valid inode number"))
        };
        let names = Names {
            pid: number("pid")?,
            net: number("net")?,
            user: user_namespace.then(|| number("user")).transpose()?,
        };
        let allowed: Vec<Inode> = allowed.iter().map(|path| Inode::at(path)).collect::<Result<_, _>>()?;
        let bytes = bpf::kernel_types().map_err(|error| format!("cannot read {KERNEL_TYPES}: {error}"))?;
        let functions = [
            Hook::Connect.function(),
            Hook::Send.function(),
            pipes::MADE,
            pipes::OPENED,
        ];
        let types =
            Types::read(&bytes, &STRUCTURES, &functions).ok_or_else(|| format!("cannot parse {KERNEL_TYPES}"))?;
        let mut links = Vec::new();
        for hook in [Hook::Connect, Hook::Send] {
            let code = sockets::program(&types, hook, names, &allowed)?;
            links.push(link(&types, hook.function(), BPF_MODIFY_RETURN, &code)?);
        }
        let pipes = hold_pipes(&types, names).map(|held| links.extend(held));
        let holder = Holder::start(&links, ended);
        Ok(Program {
            _holder: holder.map_err(|error| format!("cannot start the process that keeps them attached: {error}"))?,
            _links: links,
            pipes,
        })
    }

    /// Whether FIFOs of the outside are held too; if not, why.
    ///
    /// # Errors
    /// The reason.
    pub(crate) fn pipes(&self) -> Result<(), &str> {
        self.pipes.as_ref().copied().map_err(String::as_str)
    }
}

fn hold_pipes(types: &Types<'_>, names: Names) -> Result<[OwnedFd; 2], String> {
    let known = Known::new().map_err(|error| format!("cannot make a map of them: {error}"))?;
    let made = pipes::made(types, names, &known)?;
    let made = link(types, pipes::MADE, BPF_TRACE_FEXIT, &made)?;
    let opened = pipes::opened(types, names, &known)?;
    Ok([made, link(types, pipes::OPENED, BPF_MODIFY_RETURN, &opened)?])
}

fn link(types: &Types<'_>, function: &'static str, how: u32, code: &[Instruction]) -> Result<OwnedFd, String> {
    let number = types.function(function)?;
    let name = format!("httpjail_{}", function.rsplit('_').next().unwrap_or_default());
    let load = |log: &mut [u8]| bpf::prog_load(&name, BPF_PROG_TYPE_TRACING, how, number, code, c"GPL", log);
    let program = load(&mut []).map_err(|error| {
        // Once more, for the verifier's words.
        let mut log = vec![0; 1 << 20];
        let _ = load(&mut log);
        tracing::debug!("the verifier: {}", bpf::log_tail(&log));
        format!("cannot load a program for {function}: {error}")
    })?;
    bpf::trace_attach(program.as_fd()).map_err(|error| format!("cannot attach a program to {function}: {error}"))
}
