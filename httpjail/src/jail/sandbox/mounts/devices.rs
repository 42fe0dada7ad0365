//! The jail's own /dev: an empty file system with the few devices that programs need to compute, to draw and to talk to
//! their user.
//!
//! The other devices of a host are ways around the jail for any process that may open them, as root and members of some
//! groups may: a disk has every file on it, `uinput` types into the desktop outside, a serial port or a USB device may
//! be a modem, `vhost-vsock` speaks to the host, a screen is what the user sees. There are too many to name, and more
//! appear while the jail lives, so this module names those that stay. Devices can be opened only on these mounts: the
//! host's /dev may be mounted a second time, and a device node may lie anywhere.
//!
//! `kvm` and the computing part of graphics cards stay. Each is a large part of the kernel, as are the file systems and
//! sockets that a jail has anyway, and httpjail does not promise to hold a fault of the kernel. Neither leads to a
//! network or a file: a virtual machine gets its network from a program in the jail, and a card computes. A process
//! that may not open them outside may not open them in the jail.
//!
//! `fuse` does not stay: a process that reads a file of a file system served by a jailed program waits for as long as
//! that program likes. A program that maps such a file over its own arguments would block httpjail, which reads its
//! command line (proc(5)), and the jail's init, which reads its paths.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;

use super::operations::{MountError, bind, bind_with, failed, hold, mounted, raw, remount_read_only};
use super::terminals::{self, Given};
use crate::jail::sandbox::mountinfo::Mount;
use crate::sys::mounts::{close_devices, open_devices};

const DEV: &str = "/dev";

/// The devices that stay. `*` at the end stands for any ending. Of `dri` those that render: the others are the screen.
const KEPT: [&str; 11] = [
    "null",
    "zero",
    "full",
    "random",
    "urandom",
    "tty",
    "kvm",
    "kfd",
    "dri/renderD*",
    "nvidia*",
    "nvidia-caps/*",
];

/// A screen, too.
const NOT_KEPT: &str = "nvidia-modeset";

/// The links that stay, where the host has them.
const LINKS: [&str; 6] = ["fd", "stdin", "stdout", "stderr", "core", "log"];

const FLAGS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// Puts it in the place of the host's. With `own_terminals` none of the host's terminals come back. Returns what must stay
/// open as long as the jail lives.
pub(super) fn arrange(own_terminals: bool, notes: &mut Vec<String>) -> Result<Vec<OwnedFd>, MountError> {
    let dev = Path::new(DEV);
    let before = mounted()?;
    if !dev.is_dir() {
        close_all_but(&[], &before)?;
        return Ok(Vec::new());
    }
    let host = Host::look(own_terminals);
    let options = Some("mode=0755,size=1m");
    raw("cover", dev, Some("tmpfs"), Some("tmpfs"), FLAGS, options)?;
    let mut kept = host.bring_back(dev)?;
    let (held, names) = terminals::arrange(dev, &host.terminals, notes)?;
    kept.push(dev.join("pts"));
    kept.extend(names);
    close_all_but(&kept, &before)?;
    share(dev, &before)?;
    replace_elsewhere(dev, &before)?;
    Ok(held)
}

/// Makes it read-only, as it is to whoever is not root: without root the file system is the user's.
pub(super) fn close() -> Result<(), MountError> {
    let dev = Path::new(DEV);
    if dev.is_dir() {
        remount_read_only(dev, FLAGS)
    } else {
        Ok(())
    }
}

/// What there was, held by descriptors.
struct Host {
    devices: Vec<(PathBuf, OwnedFd)>,
    links: Vec<(PathBuf, PathBuf)>,
    terminals: BTreeMap<PathBuf, Given>,
}

impl Host {
    fn look(own_terminals: bool) -> Host {
        let devices = KEPT.iter().flat_map(|pattern| expand(pattern)).filter_map(|name| {
            let path = Path::new(DEV).join(&name);
            let device = fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_char_device());
            // Unplugged a moment ago, it is none.
            Some((name, hold(&path).ok().filter(|_| device)?))
        });
        let links = LINKS.iter().map(PathBuf::from).filter_map(|name| {
            let target = fs::read_link(Path::new(DEV).join(&name)).ok()?;
            Some((name, target))
        });
        Host {
            devices: devices.collect(),
            links: links.collect(),
            terminals: if own_terminals {
                BTreeMap::new()
            } else {
                terminals::given()
            },
        }
    }

    /// Fills the empty /dev but for `pts`. Returns what is mounted in it.
    fn bring_back(&self, dev: &Path) -> Result<Vec<PathBuf>, MountError> {
        for (name, target) in &self.links {
            link(target, &dev.join(name))?;
        }
        link(Path::new("pts/ptmx"), &dev.join("ptmx"))?;
        directory(&dev.join("pts"), 0o755)?;
        let devices = self.devices.iter().map(|(name, device)| (name, device));
        let terminals = self.terminals.values().filter(|given| !given.in_devpts());
        let terminals = terminals.map(|given| (&given.name, &given.device));
        let mut mounted = Vec::new();
        for (name, device) in devices.chain(terminals) {
            let path = dev.join(name);
            let parent = path.parent().unwrap_or(dev);
            let made = fs::create_dir_all(parent).and_then(|()| File::create(&path));
            made.map_err(|source| failed("make", &path, source))?;
            bind(&PathBuf::from(format!("/proc/self/fd/{}", device.as_raw_fd())), &path)?;
            mounted.push(path);
        }
        Ok(mounted)
    }
}

/// The names below /dev that a pattern stands for.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some(stem) = pattern.strip_suffix('*') else {
        return vec![pattern.into()];
    };
    let (directory, start) = stem.rsplit_once('/').unwrap_or(("", stem));
    let entries = fs::read_dir(Path::new(DEV).join(directory))
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with(start) && name != NOT_KEPT)
        .map(|name| Path::new(directory).join(name))
        .collect()
}

/// Closes the devices of all mounts but these.
fn close_all_but(kept: &[PathBuf], before: &[Mount]) -> Result<(), MountError> {
    if close_devices(Path::new("/")).is_ok() {
        for path in kept {
            match open_devices(path) {
                // Whoever closed it outside has closed it here.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                opened => opened.map_err(|source| failed("open", path, source))?,
            }
        }
        return Ok(());
    }
    // Linux before 5.12, or a filter. One by one, without those in the new /dev.
    for mount in before.iter().filter(|mount| mount.is_seen()) {
        let flags = mount.flags | MsFlags::MS_NODEV | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
        raw("close the devices of", &mount.target, None, None, flags, None)?;
    }
    Ok(())
}

/// What programs of one IPC namespace share by files: memory (shm_open(3)) and, where the host has them, message queues.
/// The host's are its own programs', which may be of the command's user.
fn share(dev: &Path, before: &[Mount]) -> Result<(), MountError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let shm = dev.join("shm");
    directory(&shm, 0o755)?;
    raw("mount", &shm, Some("tmpfs"), Some("tmpfs"), flags, Some("mode=1777"))?;
    if before.iter().any(|mount| mount.kind == "mqueue") {
        let mqueue = dev.join("mqueue");
        directory(&mqueue, 0o755)?;
        let flags = flags | MsFlags::MS_NOEXEC;
        raw("mount", &mqueue, Some("mqueue"), Some("mqueue"), flags, None)?;
    }
    Ok(())
}

/// Lays the jail's own over whatever of the host's /dev is mounted a second time, as below the root of a chroot.
fn replace_elsewhere(dev: &Path, before: &[Mount]) -> Result<(), MountError> {
    let memory = before.iter().find(|mount| mount.target == dev.join("shm"));
    for mount in before {
        let whole = mount.root == Path::new("/");
        let own = match mount.kind.as_str() {
            "devtmpfs" => dev.join(mount.root.strip_prefix("/").unwrap_or(&mount.root)),
            "devpts" if whole => dev.join("pts"),
            "mqueue" if whole => dev.join("mqueue"),
            _ if whole && memory.is_some_and(|memory| memory.device == mount.device) => dev.join("shm"),
            _ => continue,
        };
        if own.exists() && mount.is_seen() {
            bind_with(MsFlags::MS_REC, &own, &mount.target)?;
        }
    }
    Ok(())
}

fn directory(path: &Path, mode: u32) -> Result<(), MountError> {
    let made = DirBuilder::new().mode(mode).create(path);
    made.map_err(|source| failed("make", path, source))
}

fn link(target: &Path, path: &Path) -> Result<(), MountError> {
    symlink(target, path).map_err(|source| failed("make", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_what_is_there() {
        assert_eq!(expand("null"), [Path::new("null")]);
        assert!(expand("ful*").contains(&"full".into()));
        assert!(expand("no-such-folder/renderD*").is_empty());
    }
}
