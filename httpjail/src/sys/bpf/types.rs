//! The running kernel's type information (BTF). To read five megabytes takes longer than to use them: a call gives one page.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Deref;
use std::os::fd::AsRawFd as _;
use std::ptr::{self, NonNull};
use std::slice;

use nix::sys::statfs::{SYSFS_MAGIC, fstatfs};

/// Where the kernel offers it.
pub(crate) const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

/// Its bytes.
#[derive(Debug)]
pub(crate) enum KernelTypes {
    /// The kernel's own memory (Linux 6.16), of this length.
    Mapped(NonNull<u8>, usize),
    /// A copy.
    Read(Vec<u8>),
}

/// Maps it, or reads it where that cannot be.
///
/// # Errors
/// Those of reading it: a kernel may have none.
pub(crate) fn kernel_types() -> io::Result<KernelTypes> {
    let mut file = File::open(KERNEL_TYPES)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    // A file that lies over it may become shorter.
    if fstatfs(&file)?.filesystem_type() == SYSFS_MAGIC {
        let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE);
        // SAFETY: a mapping of its own, at an address that the kernel chooses.
        let mapped = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, file.as_raw_fd(), 0) };
        if mapped != libc::MAP_FAILED
            && let Some(first) = NonNull::new(mapped.cast())
        {
            return Ok(KernelTypes::Mapped(first, length));
        }
    }
    let mut bytes = Vec::with_capacity(length);
    file.read_to_end(&mut bytes)?;
    Ok(KernelTypes::Read(bytes))
}

impl Deref for KernelTypes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            // SAFETY: so many bytes are mapped until this is dropped, and the kernel neither changes nor removes them as long as
            // it runs.
            KernelTypes::Mapped(first, length) => unsafe { slice::from_raw_parts(first.as_ptr(), *length) },
            KernelTypes::Read(bytes) => bytes,
        }
    }
}

impl Drop for KernelTypes {
    fn drop(&mut self) {
        if let KernelTypes::Mapped(first, length) = self {
            // SAFETY: the mapping is this value's own, and nobody has a slice of it any more.
            unsafe { libc::munmap(first.as_ptr().cast(), *length) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KERNEL_TYPES, kernel_types};

    #[test]
    fn what_is_mapped_is_what_can_be_read() {
        // A kernel without them has nothing to be read.
        let Ok(read) = std::fs::read(KERNEL_TYPES) else {
            return assert!(kernel_types().is_err());
        };
        assert!(*kernel_types().unwrap() == *read);
    }
}
