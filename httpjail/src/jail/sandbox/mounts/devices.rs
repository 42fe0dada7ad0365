//! The host's /dev, of which only what programs compute, draw and talk to their user with can be opened.
//!
//! The rest of a host's devices are ways around the jail for whoever may open them, which root may and a user in the right
//! group: a disk is every file on it, `uinput` types into the desktop outside, a serial port or a USB device may be a modem,
//! `vhost-vsock` speaks to the host. There are more of them than can be named, so this names those that stay. Each other is
//! mounted on itself without the right to be a device. (A fresh /dev with a few nodes in it would be simpler, but `ptmx`
//! looks for `pts` beside it in its own mount: fs/devpts/inode.c, `devpts_ptmx_path`.)

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;

use super::{MountError, bind, raw};

const DEV: &str = "/dev";

/// What stays. `*` at the end stands for any ending; `dri`, `nvidia` and `kfd` are graphics cards, which only compute.
const KEPT: [&str; 15] = [
    "null",
    "zero",
    "full",
    "random",
    "urandom",
    "tty",
    "ptmx",
    "pts",
    "shm",
    "hugepages",
    "fuse",
    "kvm",
    "dri",
    "kfd",
    "nvidia*",
];

/// Takes the others from the jail, and with `own_terminals` the host's terminals too.
pub(super) fn arrange(own_terminals: bool) -> Result<(), MountError> {
    if own_terminals {
        // Whoever sits at a terminal owns its device, and so could the command: it would read, write and type there.
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        let options = Some("newinstance,ptmxmode=0666,mode=0620");
        raw(
            "mount",
            Path::new("/dev/pts"),
            Some("devpts"),
            Some("devpts"),
            flags,
            options,
        )?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for path in others(own_terminals)? {
        if path.ends_with("mqueue") {
            // The host's are the message queues of its own IPC namespace.
            raw("mount", &path, Some("mqueue"), Some("mqueue"), flags, None)?;
            continue;
        }
        match bind(&path, &path) {
            // Unplugged a moment ago.
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => continue,
            bound => bound?,
        }
        let flags = flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
        raw("close", &path, None, None, flags, None)?;
    }
    Ok(())
}

/// Every device and folder in /dev that does not stay.
fn others(own_terminals: bool) -> Result<Vec<PathBuf>, MountError> {
    let entries = fs::read_dir(DEV).map_err(|source| MountError {
        step: "read",
        path: DEV.into(),
        source,
    })?;
    // A console or a serial line on which the caller sits is theirs to give.
    let own: Vec<PathBuf> = (0..3)
        .filter(|_| !own_terminals)
        .filter_map(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).ok())
        .collect();
    let others = entries.flatten().filter(|entry| {
        let leads = entry
            .file_type()
            .is_ok_and(|kind| !kind.is_symlink() && !kind.is_socket());
        leads && !own.contains(&entry.path()) && !entry.file_name().to_str().is_some_and(stays)
    });
    Ok(others.map(|entry| Path::new(DEV).join(entry.file_name())).collect())
}

fn stays(name: &str) -> bool {
    KEPT.iter().any(|kept| match kept.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *kept,
    })
}

#[cfg(test)]
mod tests {
    use super::stays;

    #[test]
    fn what_stays() {
        for name in ["null", "ptmx", "pts", "nvidia0", "nvidia-uvm"] {
            assert!(stays(name), "{name}");
        }
        for name in ["sda", "uinput", "input", "bus", "ttyS0", "tty1", "vhost-vsock", "nulls"] {
            assert!(!stays(name), "{name}");
        }
    }
}
