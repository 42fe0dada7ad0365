//! Tells which mount a path leads to (`statx(2)`), changes attributes of existing mounts (`mount_setattr(2)`, Linux
//! 5.12), and makes mounts that are put in their place later (`open_tree(2)`, `move_mount(2)`, Linux 5.2): calls that the safe
//! libraries lack.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
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
const MOUNT_ATTR_RDONLY: u64 = 0x1;
const MOUNT_ATTR_NOSUID: u64 = 0x2;
const MOUNT_ATTR_NOEXEC: u64 = 0x8;
const OPEN_TREE_CLONE: libc::c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
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

/// Makes a mount of the file at `path` that is nowhere yet: read-only, and private, so that it appears only where it is put.
///
/// # Errors
/// Those of `open_tree(2)` and `mount_setattr(2)`.
pub(crate) fn unattached(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as libc::c_uint;
    // SAFETY: the call reads a string that ends in a zero byte and lives until it returns.
    let made = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave this descriptor to us alone.
    let mount = unsafe { OwnedFd::from_raw_fd(made as i32) };
    let attributes = Attributes {
        set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
        propagation: libc::MS_PRIVATE,
        ..Attributes::default()
    };
    set_at(mount.as_raw_fd(), c"", libc::AT_EMPTY_PATH, &attributes)?;
    Ok(mount)
}

/// Puts a mount that is nowhere yet over `target`, in the mount namespace of the calling thread.
///
/// # Errors
/// Those of `move_mount(2)`.
pub(crate) fn put(mount: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    let target = CString::new(target.as_os_str().as_bytes())?;
    // SAFETY: the call reads two strings that end in a zero byte and live until it returns.
    let moved = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    if moved == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
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
    set_at(libc::AT_FDCWD, &target, flags, attributes)
}

fn set_at(directory: RawFd, target: &CStr, flags: libc::c_int, attributes: &Attributes) -> io::Result<()> {
    // SAFETY: the call reads a string that ends in a zero byte and a structure of the size given; both live until it returns.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory,
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
