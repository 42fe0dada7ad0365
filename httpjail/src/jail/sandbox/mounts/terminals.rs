//! The jail's own devpts. Of the host's terminals it has only those that the caller passed to the command.
//!
//! A user owns all terminals at which the user is logged in. A jailed program could read what is typed there (the
//! password for `sudo`), write text that looks like another program's, and answer questions that are not for it.
//!
//! The terminals that come back are those of standard input, output and error, and the controlling terminal. They keep
//! their names, because programs find their terminal by name (ttyname(3)). No file can be created in a devpts, so the
//! name `pts/57` comes from opening terminals of the new instance up to that number: each gets the lowest free number
//! (fs/devpts/inode.c, `devpts_new_index`). The last one stays open, and the host's terminal is bound over it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::mount::MsFlags;
use nix::pty::{posix_openpt, ptsname_r};
use nix::sys::stat::{FileStat, Mode, fstat, major, makedev, minor};
use nix::sys::termios::tcgetsid;

use super::operations::{MountError, bind, hold, raw};
use crate::jail::sandbox::stdio::is_terminal;

/// `include/uapi/linux/major.h`: TTYAUX_MAJOR, of `/dev/tty`, `/dev/console` and `/dev/ptmx`.
const AUXILIARY: u64 = 5;
/// UNIX98_PTY_SLAVE_MAJOR: the inner ends of pseudo-terminals. Their minor number is the one in their name.
const PSEUDO: u64 = 136;
/// How the note begins that is of a terminal whose number could not be had: programs look for it by its name.
pub(crate) const NO_NAME_FOR: &str = "the jail has no name for the terminal";
/// More than there are where nobody has raised `kernel.pty.max`, so that a number has an end.
const MOST: u64 = 4096;

/// A terminal of the host that comes back.
#[derive(Debug)]
pub(super) struct Given {
    /// Its name below `/dev`.
    pub(super) name: PathBuf,
    pub(super) device: OwnedFd,
    /// Its number, if it is a pseudo-terminal.
    number: Option<u64>,
}

impl Given {
    /// Whether its name is one of a devpts.
    pub(super) fn in_devpts(&self) -> bool {
        self.number.is_some()
    }
}

/// Finds them, while the host's can still be seen.
pub(super) fn given() -> BTreeMap<PathBuf, Given> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let standard = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let found = standard.into_iter().filter_map(behind).chain(controlling());
    found.map(|given| (given.name.clone(), given)).collect()
}

/// The terminal that a descriptor is open on, if it has a name here: that of another mount namespace has none.
fn behind(descriptor: BorrowedFd<'_>) -> Option<Given> {
    let open = fstat(descriptor).ok().filter(|_| is_terminal(descriptor))?;
    let link = fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).ok()?;
    let usual = Path::new("/dev/pts").join(minor(open.st_rdev).to_string());
    [link, usual].iter().find_map(|path| {
        let same = |found: &FileStat| (found.st_dev, found.st_ino) == (open.st_dev, open.st_ino);
        named(path, same)
    })
}

/// The controlling terminal, on which none of those may be. `/dev/tty` leads to it whatever its name.
fn controlling() -> Option<Given> {
    let device = controlling_device(&fs::read("/proc/self/stat").ok()?)?;
    if major(device) == PSEUDO {
        let path = Path::new("/dev/pts").join(minor(device).to_string());
        // Another instance may have one with that number. The session of a terminal is told to those in it alone
        // (ioctl_tty(2), TIOCGSID).
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let terminal = open(&path, flags, Mode::empty()).ok()?;
        tcgetsid(&terminal).ok()?;
        return named(&path, |found| found.st_rdev == device);
    }
    let is_it = |path: &PathBuf| {
        let found = fs::symlink_metadata(path);
        found.is_ok_and(|found| found.file_type().is_char_device() && found.rdev() == device)
    };
    let entries = fs::read_dir("/dev").ok()?.flatten();
    let path = entries.map(|entry| entry.path()).find(is_it)?;
    named(&path, |found| found.st_rdev == device)
}

/// The seventh field of `/proc/self/stat` (proc(5)), which has a device's number in 32 bits. The second may hold anything.
fn controlling_device(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(&stat[end + 1..]).ok()?;
    let number = fields.split_whitespace().nth(4)?.parse::<i32>().ok()? as u32;
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xf_ff00));
    (number != 0).then(|| makedev(major.into(), minor.into()))
}

/// The device at `path`, if it is right and no terminal that the jail has anyway (`/dev/tty`, the outer end of a pair).
fn named(path: &Path, right: impl Fn(&FileStat) -> bool) -> Option<Given> {
    let name = path.strip_prefix("/dev").ok()?.to_owned();
    let device = hold(path).ok()?;
    let found = fstat(&device).ok().filter(right)?;
    let kept = major(found.st_rdev) == AUXILIARY && minor(found.st_rdev) != 1;
    let in_devpts = name.starts_with("pts") && major(found.st_rdev) == PSEUDO;
    (!kept).then(|| Given {
        name,
        device,
        number: in_devpts.then(|| minor(found.st_rdev)),
    })
}

/// Mounts the jail's own devpts in its empty /dev, and brings back those of the given ones that are pseudo-terminals.
/// Returns what is to stay open, and the names that came back; what could not, is noted.
pub(super) fn arrange(
    dev: &Path,
    given: &BTreeMap<PathBuf, Given>,
    notes: &mut Vec<String>,
) -> Result<(Vec<OwnedFd>, Vec<PathBuf>), MountError> {
    let pts = dev.join("pts");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let options = Some("newinstance,ptmxmode=0666,mode=0620");
    raw("mount", &pts, Some("devpts"), Some("devpts"), flags, options)?;
    let wanted: BTreeMap<u64, &Given> = given
        .values()
        .filter_map(|given| Some((given.number?, given)))
        .collect();
    let masters = match reserve(wanted.keys().copied().collect()) {
        Ok(masters) => masters,
        Err(error) => {
            let names: Vec<_> = wanted.values().map(|given| given.name.display().to_string()).collect();
            notes.push(format!("{NO_NAME_FOR} {}: {error}", names.join(", ")));
            return Ok((Vec::new(), Vec::new()));
        }
    };
    let mut names = Vec::new();
    for (number, given) in wanted {
        let name = pts.join(number.to_string());
        let held = format!("/proc/self/fd/{}", given.device.as_raw_fd());
        bind(Path::new(&held), &name)?;
        names.push(name);
    }
    Ok((masters, names))
}

/// Makes the terminals of these numbers in the new instance, and keeps no others.
fn reserve(wanted: Vec<u64>) -> io::Result<Vec<OwnedFd>> {
    let Some(last) = wanted.iter().max().copied() else {
        return Ok(Vec::new());
    };
    if last >= MOST {
        return Err(io::Error::other(format!("its number is greater than {MOST}")));
    }
    let (mut kept, mut passed) = (Vec::new(), Vec::new());
    for _ in 0..=last {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
        let name = ptsname_r(&master)?;
        let number = name.rsplit('/').next().and_then(|number| number.parse().ok());
        if number.is_some_and(|number| wanted.contains(&number)) {
            kept.push(master.into());
        } else {
            passed.push(master);
        }
    }
    if kept.len() == wanted.len() {
        Ok(kept)
    } else {
        Err(io::Error::other("the new terminals got other numbers"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(number: &str, expected: Option<(u64, u64)>) {
        let stat = format!("4711 (a ) b) S 1 4711 4711 {number} 4711 4194304 0\n");
        let expected = expected.map(|(major, minor)| makedev(major, minor));
        assert_eq!(controlling_device(stat.as_bytes()), expected, "{number}");
    }

    #[test]
    fn the_controlling_terminal_is_read() {
        check("0", None);
        check("34816", Some((136, 0)));
        check("34873", Some((136, 57)));
        check("1083392", Some((136, 256)));
        check("1025", Some((4, 1)));
        assert_eq!(controlling_device(b"nonsense"), None);
    }
}
