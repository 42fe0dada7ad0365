//! The bpf(2) system call, and helpers for its attributes.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// # Safety
/// Every pointer in `attr` must be good for what `command` does with it.
pub(super) unsafe fn bpf<A>(command: i32, attr: &mut A) -> io::Result<i64> {
    // SAFETY: the kernel reads (and for some commands writes) at most `size_of::<A>()` bytes of the attribute; the caller
    // vouches for what it points to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<A>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// # Safety
/// As for [`bpf`]; and `command` must be one that returns a new descriptor.
pub(super) unsafe fn bpf_fd<A>(command: i32, attr: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attr) }?;
    let fd = i32::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
    // SAFETY: the kernel just made it and nobody else knows it. It is close-on-exec (`bpf_*_new_fd` pass O_CLOEXEC).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn raw(fd: BorrowedFd<'_>) -> u32 {
    // Never negative: a `BorrowedFd` is open.
    fd.as_raw_fd().unsigned_abs()
}

/// A name as the kernel shows it: letters, digits, `_` and `.`, at most 15 bytes.
pub(super) fn object_name(name: &str) -> [u8; 16] {
    let mut out = [0; 16];
    let allowed = name
        .bytes()
        .filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
    for (slot, byte) in out[..15].iter_mut().zip(allowed) {
        *slot = byte;
    }
    out
}

/// The kernel wants pointers as 64-bit numbers.
pub(super) trait AddrU64 {
    fn addr_u64(self) -> u64;
}

impl<T> AddrU64 for *const T {
    fn addr_u64(self) -> u64 {
        self.expose_provenance() as u64
    }
}

impl<T> AddrU64 for *mut T {
    fn addr_u64(self) -> u64 {
        self.expose_provenance() as u64
    }
}
