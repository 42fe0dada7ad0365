//! The `bpf(2)` calls that load cgroup programs.
//!
//! aya's own loader parses the whole type information of the running kernel first (15 ms of a 30 ms start), and none of
//! the programs needs that. So `aya-obj` parses the object, and these few calls load it. Each takes and returns owned
//! or borrowed descriptors and checks sizes itself, so safe code cannot misuse it. The layouts are those of `union
//! bpf_attr` in include/uapi/linux/bpf.h; the kernel accepts an attribute that is shorter than its own if the rest
//! would be zero.

mod call;
mod map;
#[cfg(test)]
mod run;
mod types;

#[cfg(test)]
pub(crate) use map::per_cpu_sum;
pub(crate) use map::{Map, MapDef, map_create, map_fill, read_pod};
#[cfg(test)]
pub(crate) use run::prog_test_run;
pub(crate) use types::{KERNEL_TYPES, kernel_types};

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use call::{AddrU64 as _, bpf, bpf_fd, object_name, raw};

const BPF_PROG_LOAD: i32 = 5;
const BPF_OBJ_PIN: i32 = 6;
const BPF_OBJ_GET: i32 = 7;
const BPF_PROG_QUERY: i32 = 16;
const BPF_RAW_TRACEPOINT_OPEN: i32 = 17;
const BPF_BTF_LOAD: i32 = 18;
const BPF_LINK_CREATE: i32 = 28;
const BPF_ITER_CREATE: i32 = 33;

/// The kernel's number for a loaded program.
///
/// # Errors
/// EBADF or EINVAL if it is none.
#[cfg(feature = "bpf-trace")]
pub fn prog_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    // `struct bpf_prog_info` begins as `struct bpf_map_info` does: type, id.
    map::map_info(program).map(|info| info.id)
}

/// Gives the kernel the type information of an object.
///
/// # Errors
/// EINVAL where the kernel does not understand it, EPERM without CAP_BPF.
pub(crate) fn btf_load(btf: &[u8]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        btf: u64,
        log_buf: u64,
        btf_size: u32,
        log_size: u32,
        log_level: u32,
        padding: u32,
    }
    let size = u32::try_from(btf.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let mut attr = Attr {
        btf: btf.as_ptr().addr_u64(),
        log_buf: 0,
        btf_size: size,
        log_size: 0,
        log_level: 0,
        padding: 0,
    };
    // SAFETY: the kernel reads `btf_size` bytes at `btf`; the call returns a new descriptor.
    unsafe { bpf_fd(BPF_BTF_LOAD, &mut attr) }
}

/// Loads and verifies a program of whole instructions, each eight bytes. `log` receives the verifier's words; leave it empty
/// for speed, and ask again with one when the program was refused. `function` is the number that the running kernel's type
/// information gives to the function that it is for, or 0.
///
/// # Errors
/// EPERM without the capabilities, EACCES or EINVAL from the verifier, ENOSPC when the log was too short.
pub(crate) fn prog_load<I: Copy>(
    name: &str,
    prog_type: u32,
    attach_type: u32,
    function: u32,
    instructions: &[I],
    license: &CStr,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
        /// Types and lines of its source: none.
        debug: [u32; 9],
        attach_btf_id: u32,
        rest: [u32; 2],
    }
    const { assert!(size_of::<I>() == 8) };
    let too_big = |_| io::Error::from_raw_os_error(libc::E2BIG);
    let mut attr = Attr {
        prog_type,
        insn_cnt: u32::try_from(instructions.len()).map_err(too_big)?,
        insns: instructions.as_ptr().addr_u64(),
        license: license.as_ptr().addr_u64(),
        log_level: u32::from(!log.is_empty()),
        log_size: u32::try_from(log.len()).map_err(too_big)?,
        log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr().addr_u64() },
        kern_version: 0,
        prog_flags: 0,
        prog_name: object_name(name),
        prog_ifindex: 0,
        expected_attach_type: attach_type,
        debug: [0; 9],
        attach_btf_id: function,
        rest: [0; 2],
    };
    // SAFETY: the kernel reads `insn_cnt` times eight bytes and the license up to its NUL, and writes at most `log_size`
    // bytes; the call returns a new descriptor.
    unsafe { bpf_fd(BPF_PROG_LOAD, &mut attr) }
}

/// Attaches a program to the function of the kernel's that it was loaded for, until the last descriptor of the link is closed.
///
/// # Errors
/// E2BIG when as many as the kernel takes are there, EPERM, or ENOTSUPP on a processor without trampolines.
pub(crate) fn trace_attach(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        name: u64,
        prog_fd: u32,
        padding: u32,
    }
    let mut attr = Attr {
        name: 0,
        prog_fd: raw(program),
        padding: 0,
    };
    // SAFETY: without a name the attribute holds no pointer; the call returns a new descriptor.
    unsafe { bpf_fd(BPF_RAW_TRACEPOINT_OPEN, &mut attr) }
}

/// The last lines of a log: where the verifier says what it did not like.
pub(crate) fn log_tail(log: &[u8]) -> String {
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(24)..].join("\n")
}

/// Attaches a program to a cgroup. It stays attached until the last descriptor of the link is closed.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN or where a parent cgroup holds an exclusive program; EINVAL for an unknown attach type; EBADF
/// if `cgroup` is none.
pub(crate) fn link_create(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        flags: u32,
    }
    // Flags 0: links on cgroups always live beside other programs; the legacy flags are EINVAL here.
    let mut attr = Attr {
        prog_fd: raw(program),
        target_fd: raw(cgroup),
        attach_type,
        flags: 0,
    };
    // SAFETY: the attribute holds no pointers; the call returns a new descriptor.
    unsafe { bpf_fd(BPF_LINK_CREATE, &mut attr) }
}

/// What names an object in a bpffs (`union bpf_attr`).
#[repr(C)]
struct PinAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Gives an object a name in a bpffs, which keeps it alive.
///
/// # Errors
/// EPERM if the path is not on a bpffs, EEXIST, or EINVAL for a path with a NUL.
pub(crate) fn obj_pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = PinAttr {
        pathname: path.as_ptr().addr_u64(),
        bpf_fd: raw(object),
        file_flags: 0,
    };
    // SAFETY: the kernel reads the path up to its NUL.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.map(drop)
}

/// Opens an object by its name in a bpffs.
///
/// # Errors
/// ENOENT, EPERM or EACCES, or EINVAL for what is no pin.
pub(crate) fn obj_get(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = PinAttr {
        pathname: path.as_ptr().addr_u64(),
        bpf_fd: 0,
        file_flags: 0,
    };
    // SAFETY: the kernel reads the path up to its NUL; the call returns a new descriptor.
    unsafe { bpf_fd(BPF_OBJ_GET, &mut attr) }
}

/// Opens what an iterator program writes: the kernel calls it for one object after the other while the file is read.
///
/// # Errors
/// EPERM without the capabilities; EINVAL for a program of another kind.
pub(crate) fn iterate(program: BorrowedFd<'_>, attach_type: u32) -> io::Result<File> {
    #[repr(C)]
    struct LinkAttr {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        flags: u32,
    }
    #[repr(C)]
    struct IterAttr {
        link_fd: u32,
        flags: u32,
    }
    let mut attr = LinkAttr {
        prog_fd: raw(program),
        target_fd: 0,
        attach_type,
        flags: 0,
    };
    // SAFETY: the attribute holds no pointers; the call returns a new descriptor.
    let link = unsafe { bpf_fd(BPF_LINK_CREATE, &mut attr) }?;
    let mut attr = IterAttr {
        link_fd: raw(link.as_fd()),
        flags: 0,
    };
    // SAFETY: as above. What is opened keeps the program by itself.
    unsafe { bpf_fd(BPF_ITER_CREATE, &mut attr) }.map(File::from)
}

/// How many programs of this type are attached to the cgroup itself (not those inherited).
///
/// # Errors
/// EPERM without CAP_NET_ADMIN, EINVAL for an unknown attach type.
pub(crate) fn attached_count(cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<u32> {
    #[repr(C)]
    struct Attr {
        target_fd: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
        padding: u32,
    }
    let mut attr = Attr {
        target_fd: raw(cgroup),
        attach_type,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: 0,
        prog_cnt: 0,
        padding: 0,
    };
    // SAFETY: without an array of ids the kernel only writes the count, into the attribute itself.
    unsafe { bpf(BPF_PROG_QUERY, &mut attr) }?;
    Ok(attr.prog_cnt)
}

/// Attaches a program the old way with flags 0: it shuts out every program below. Only to try what happens then.
#[cfg(test)]
pub(crate) fn attach_exclusively(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<()> {
    let mut attr = [raw(cgroup), raw(program), attach_type, 0];
    // SAFETY: the attribute holds no pointers.
    unsafe { bpf(8, &mut attr) }.map(drop)
}

/// The cookie of the network namespace in which `socket` was made: the kernel's own name for it, never used twice.
///
/// # Errors
/// ENOPROTOOPT before Linux 5.14; ENOTSOCK.
pub(crate) fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    const SO_NETNS_COOKIE: i32 = 71;
    let mut cookie = 0_u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into `cookie` and the length back into `len`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}
