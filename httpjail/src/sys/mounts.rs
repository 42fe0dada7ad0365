//! Tells which mount a path leads to (`statx(2)`), and changes attributes of existing mounts (`mount_setattr(2)`, Linux
//! 5.12): calls that the safe libraries lack.

use std::ffi::CString;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `struct mount_attr` of `linux/mount.h`.
#[repr(C)]
#[derive(Debug, Default)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Whether devices can be opened.
const MOUNT_ATTR_NODEV: u64 = 0x4;
/// With all mounts below, seen or not.
const AT_RECURSIVE: libc::c_int = 0x8000;

/// Lets nothing that lies on the mount at `root`, or on one below it, be opened as a device.
///
/// # Errors
/// Those of `mount_setattr(2)`: ENOSYS of older kernels, EPERM of filters that do not know it. Nothing has changed then.
pub(crate) fn close_devices(root: &Path) -> io::Result<()> {
    let attributes = Attributes {
        set: MOUNT_ATTR_NODEV,
        ..Attributes::default()
    };
    set(root, AT_RECURSIVE, &attributes)
}

/// Lets what lies on the mount at `target` be opened as a device again.
///
/// # Errors
/// Those of `mount_setattr(2)`: EPERM where somebody outside of the user namespace has closed it.
pub(crate) fn open_devices(target: &Path) -> io::Result<()> {
    let attributes = Attributes {
        clear: MOUNT_ATTR_NODEV,
        ..Attributes::default()
    };
    set(target, 0, &attributes)
}

fn set(target: &Path, flags: libc::c_int, attributes: &Attributes) -> io::Result<()> {
    let target = CString::new(target.as_os_str().as_bytes())?;
    // SAFETY: the call reads a string that ends in a zero byte and a structure of the size given; both live until it returns.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            target.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<Attributes>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The number of the mount that `path` leads to, as `mountinfo` numbers them. `/proc/self/fdinfo` tells it too, but on older
/// kernels not to a process that may not be dumped.
///
/// # Errors
/// Those of `statx(2)`; Unsupported where the kernel does not tell it (before Linux 5.8).
pub(crate) fn id_of(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the call reads a string that ends in a zero byte and fills the structure; both live until it returns.
    let done = unsafe {
        let flags = libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT;
        libc::statx(
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            libc::STATX_MNT_ID,
            found.as_mut_ptr(),
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeroes are a value of this structure of integers, and the kernel has written to it what it knows.
    let found = unsafe { found.assume_init() };
    if found.stx_mask & libc::STATX_MNT_ID == 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(found.stx_mnt_id)
}
