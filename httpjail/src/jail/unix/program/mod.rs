//! The way by programs in the kernel, which only root has: asked by the kernel at each connect to a Unix socket, at each
//! datagram to one, and at each opening of a FIFO, they refuse a jailed process what is not its jail's.
//!
//! They change the answer of the functions that ask the security modules (`fmod_ret`), so they need no `bpf` among those modules,
//! as programs of theirs would: where that is missing, theirs attach without an error and are never asked. They see the socket
//! and the file themselves, so that no name matters, and TCP does not pass by them.

mod assembler;
mod btf;
mod link_holder;
mod pipes;
mod sockets;

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};
use nix::sys::statfs::{EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, statfs};

use assembler::{Code, Helper, Instruction, Label};
use btf::Types;
use link_holder::Holder;
use pipes::Known;
use sockets::Hook;

use crate::jail::process::namespaces::Sandbox;
use crate::jail::sandbox::rights;
use crate::sys::bpf;

const TYPES: &str = "/sys/kernel/btf/vmlinux";

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
const BPF_PROG_TYPE_TRACING: u32 = 26;

/// The attached programs. Dropped, they are detached.
#[derive(Debug)]
pub(crate) struct Program {
    /// They stay until each descriptor of these is closed, here and in the holder.
    _links: Vec<OwnedFd>,
    _holder: Holder,
    pipes: Result<(), String>,
}

/// The jail, by the numbers of its namespaces.
#[derive(Debug, Clone, Copy)]
struct Names {
    /// Who is in it: processes whose PID namespace is this, or one below.
    pid: u32,
    /// What is in it: sockets of this network namespace.
    net: u32,
    /// And of those that belong to this user namespace, or to one below.
    user: Option<u32>,
}

/// A file, as the kernel numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inode {
    device: u32,
    number: u64,
}

impl Program {
    /// Attaches them for this jail, which may reach the `allowed` sockets besides its own.
    ///
    /// # Errors
    /// Why this kernel, or this caller, cannot have those for sockets: the next way is taken then.
    pub(crate) fn attach(sandbox: &Sandbox, allowed: &[PathBuf]) -> Result<Self, String> {
        if !rights::missing_for_programs().is_empty() {
            return Err("only root has programs in the kernel".into());
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
            return Err("this kernel takes no programs for functions of its own".into());
        }
        let number = |name: &str| -> Result<u32, String> {
            let about = fs::metadata(format!("/proc/{}/ns/{name}", sandbox.pid));
            let about = about.map_err(|error| format!("the jail's {name} namespace cannot be looked at: {error}"))?;
            u32::try_from(about.ino()).map_err(|_| format!("the {name} namespace has no number"))
        };
        let names = Names {
            pid: number("pid")?,
            net: number("net")?,
            user: sandbox.user_namespace.then(|| number("user")).transpose()?,
        };
        let allowed: Vec<Inode> = allowed.iter().map(|path| Inode::at(path)).collect::<Result<_, _>>()?;
        let bytes = fs::read(TYPES).map_err(|error| format!("{TYPES} cannot be read: {error}"))?;
        let functions = [
            Hook::Connect.function(),
            Hook::Send.function(),
            pipes::MADE,
            pipes::OPENED,
        ];
        let types =
            Types::read(&bytes, &STRUCTURES, &functions).ok_or_else(|| format!("{TYPES} cannot be understood"))?;
        let mut links = Vec::new();
        for hook in [Hook::Connect, Hook::Send] {
            let code = sockets::program(&types, hook, names, &allowed)?;
            links.push(link(&types, hook.function(), BPF_MODIFY_RETURN, &code)?);
        }
        let pipes = hold_pipes(&types, names).map(|held| links.extend(held));
        let holder = Holder::start(&links, sandbox.ended.as_fd());
        Ok(Program {
            _holder: holder.map_err(|error| format!("nobody can be made to hold them: {error}"))?,
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
    let known = Known::new().map_err(|error| format!("a map of them cannot be had: {error}"))?;
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
        format!("the kernel takes no program for {function}: {error}")
    })?;
    bpf::trace_attach(program.as_fd()).map_err(|error| format!("{function} takes no program: {error}"))
}

/// Goes on where a process of the jail called.
fn if_jailed(code: &mut Code, types: &Types<'_>, names: Names, otherwise: Label) -> Result<(), String> {
    code.call(Helper::CurrentTask);
    code.load(1, 0, types.offset("task_struct", "nsproxy")?);
    code.if_zero(1, otherwise);
    code.load(1, 1, types.offset("nsproxy", "pid_ns_for_children")?);
    let (number, parent) = (
        types.offset("pid_namespace", "ns.inum")?,
        types.offset("pid_namespace", "parent")?,
    );
    code.ancestors((number, parent), names.pid, Label::Jailed);
    code.jump(otherwise);
    code.here(Label::Jailed);
    Ok(())
}

impl Inode {
    /// The file that a path leads to.
    ///
    /// # Errors
    /// Where it lies on a file system whose files have other numbers for programs than for the kernel (overlayfs, btrfs).
    fn at(path: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{} cannot be looked at: {error}", path.display());
        let found = fs::metadata(path).map_err(|error| failed(&error))?;
        let kind = statfs(path).map_err(|error| failed(&error))?.filesystem_type();
        if [EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC].contains(&kind) {
            Ok(Inode::of(found.dev(), found.ino()))
        } else {
            Err(format!(
                "{} lies on a file system of another kind than ext4, xfs or tmpfs",
                path.display()
            ))
        }
    }

    /// The kernel's number of a device (`MKDEV` of include/linux/kdev_t.h).
    fn of(device: u64, number: u64) -> Self {
        Inode {
            device: (major(device) << 20 | minor(device)) as u32,
            number,
        }
    }
}
