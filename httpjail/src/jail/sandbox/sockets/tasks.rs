//! Asks the kernel itself about all processes: by programs that it calls for each task and for each open file (BPF
//! iterators, Linux 5.8), which only root may load.
//!
//! `/proc` tells the same by a call or more for each process. Where there are thousands that is longer than all else that a
//! start does; this is a tenth of it. Threads are told of too, which a listing of `/proc` leaves out.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use nix::sys::stat::SFlag;

use super::limit::Limit;
use crate::jail::kernel::BPF_PROG_TYPE_TRACING;
use crate::jail::kernel::assembler::{Code, Helper, Instruction, Label};
use crate::jail::kernel::btf::Types;
use crate::jail::sandbox::rights;
use crate::sys::bpf::{self, KERNEL_TYPES};

/// Up to so many `/proc` is as quick: to read the kernel's types takes as long as that.
const FEW: u64 = 600;
/// The first PID namespace (`PROC_PID_INIT_INO` of include/linux/proc_ns.h): in another, a task's own number is not that in
/// `/proc`.
const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;
/// `enum bpf_attach_type`.
const BPF_TRACE_ITER: u32 = 28;
const STRUCTURES: [&str; 5] = ["file", "inode", "net", "nsproxy", "task_struct"];
const EACH_TASK: &str = "bpf_iter_task";
const EACH_FILE: &str = "bpf_iter_task_file";
/// Where `struct bpf_iter__task_file`, and the shorter one of tasks, has the task and the file. At its start is where to write.
const TASK: i16 = 8;
const FILE: i16 = 24;

/// What the kernel says of its tasks.
#[derive(Debug)]
pub(in crate::jail::sandbox) struct Tasks {
    /// Each task's number and the number of its network namespace.
    pub namespaces: Vec<(u32, u32)>,
    /// The program for open files, and the number of the function that it is for.
    files: Result<(Vec<Instruction>, u32), String>,
}

impl Tasks {
    /// All tasks, where there are many and the kernel tells them; else `/proc` has to be read.
    pub(super) fn of_busy_host(limit: &Limit) -> Option<Self> {
        if tasks()? > FEW { Self::if_told(limit) } else { None }
    }

    /// All tasks, if this kernel tells this process of them.
    pub(super) fn if_told(limit: &Limit) -> Option<Self> {
        if !rights::missing_for_programs().is_empty() || !numbers_are_procs() {
            return None;
        }
        Self::read(limit)
            .inspect_err(|error| tracing::info!("the kernel does not tell of all tasks at once: {error}"))
            .ok()
    }

    fn read(limit: &Limit) -> io::Result<Self> {
        let bytes = bpf::kernel_types()?;
        let types = Types::read(&bytes, &STRUCTURES, &[EACH_TASK, EACH_FILE]);
        let types = types.ok_or_else(|| io::Error::other(format!("cannot parse {KERNEL_TYPES}")))?;
        let code = each_task(&types).map_err(io::Error::other)?;
        let told = run(&code, types.function(EACH_TASK).map_err(io::Error::other)?, limit)?;
        let (numbers, _) = told.as_chunks::<4>();
        let (pairs, _) = numbers.as_chunks::<2>();
        let of_pair = |[task, namespace]: &[[u8; 4]; 2]| (u32::from_ne_bytes(*task), u32::from_ne_bytes(*namespace));
        Ok(Tasks {
            namespaces: pairs.iter().map(of_pair).collect(),
            files: each_file(&types).and_then(|code| Ok((code, types.function(EACH_FILE)?))),
        })
    }

    /// Each open socket: a task that has it, and its inode number in sockfs. Tasks that share their descriptors count once.
    ///
    /// # Errors
    /// Those of loading the program; that the time is up.
    pub(super) fn sockets(&self, limit: &Limit) -> io::Result<Vec<(u32, u64)>> {
        let (code, function) = self.files.as_ref().map_err(|error| io::Error::other(error.as_str()))?;
        let told = run(code, *function, limit)?;
        let (numbers, _) = told.as_chunks::<8>();
        let (pairs, _) = numbers.as_chunks::<2>();
        let of_pair = |[task, inode]: &[[u8; 8]; 2]| (u64::from_ne_bytes(*task) as u32, u64::from_ne_bytes(*inode));
        Ok(pairs.iter().map(of_pair).collect())
    }
}

/// How many tasks the host has, as `/proc/loadavg` counts them.
fn tasks() -> Option<u64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').nth(3)?.split_once('/')?.1.parse().ok()
}

/// Whether the kernel's own numbers of tasks are those of the `/proc` that is mounted here.
fn numbers_are_procs() -> bool {
    let first = fs::metadata("/proc/self/ns/pid").is_ok_and(|namespace| namespace.ino() == FIRST_PID_NAMESPACE);
    let own = fs::read_link("/proc/self").is_ok_and(|own| own.as_os_str() == std::process::id().to_string().as_str());
    first && own
}

/// Loads a program for the iterator of this number, and has the kernel call it for all that there is.
fn run(code: &[Instruction], iterator: u32, limit: &Limit) -> io::Result<Vec<u8>> {
    let (kind, how) = (BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER);
    let program = bpf::prog_load("httpjail_tasks", kind, how, iterator, code, c"GPL", &mut [])?;
    let mut told = bpf::iterate(program.as_fd(), how)?;
    let (mut all, mut part) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        limit.check()?;
        match told.read(&mut part) {
            Ok(0) => return Ok(all),
            Ok(length) => all.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes a task's number and that of its network namespace, four bytes each.
fn each_task(types: &Types<'_>) -> Result<Vec<Instruction>, String> {
    let mut code = Code::default();
    code.copy(6, 1);
    code.load(7, 6, TASK);
    code.if_zero(7, Label::End);
    code.load_half(8, 7, types.offset("task_struct", "pid")?);
    code.store_half(-8, 8);
    // One that has ended has none.
    code.load(1, 7, types.offset("task_struct", "nsproxy")?);
    code.if_zero(1, Label::End);
    code.load(1, 1, types.offset("nsproxy", "net_ns")?);
    code.if_zero(1, Label::End);
    code.load_half(2, 1, types.offset("net", "ns.inum")?);
    code.store_half(-4, 2);
    tell(code, 8)
}

/// Writes a task's number and the inode number of a socket that it has open, eight bytes each.
fn each_file(types: &Types<'_>) -> Result<Vec<Instruction>, String> {
    let mut code = Code::default();
    code.copy(6, 1);
    code.load(7, 6, TASK);
    code.if_zero(7, Label::End);
    code.load(8, 6, FILE);
    code.if_zero(8, Label::End);
    code.load(8, 8, types.offset("file", "f_inode")?);
    code.if_zero(8, Label::End);
    code.load_quarter(1, 8, types.offset("inode", "i_mode")?);
    code.and(1, SFlag::S_IFMT.bits().cast_signed());
    code.if_not(1, SFlag::S_IFSOCK.bits().cast_signed(), Label::End);
    code.load_half(1, 7, types.offset("task_struct", "pid")?);
    code.store(-16, 1);
    code.load(1, 8, types.offset("inode", "i_ino")?);
    code.store(-8, 1);
    tell(code, 16)
}

/// Ends a program: it writes so many bytes from the end of the stack.
fn tell(mut code: Code, bytes: i16) -> Result<Vec<Instruction>, String> {
    code.load(1, 6, 0);
    code.load(1, 1, 0);
    code.set_address(2, -bytes);
    code.set(3, bytes.into());
    code.call(Helper::SeqWrite);
    code.here(Label::End);
    code.set(0, 0);
    code.exit();
    code.finish()
}
