//! The process that makes a call: where its paths lead, and which permissions it has.

use std::ffi::OsStr;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use caps::Capability;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::libc::{AF_UNIX, sa_family_t};
use nix::sys::stat::{Mode, fstatat};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::{Pid, fchdir, getpid};

use crate::sys::{socket, thread};

/// A `/proc`, held open: whatever root a thread has taken, what it names from here is the kernel's and not the jail's.
#[derive(Debug)]
pub(super) struct ProcFs {
    fd: OwnedFd,
    /// It is that of another PID namespace, with other numbers.
    foreign: bool,
}

/// A thread of the jail that made a call.
#[derive(Debug)]
pub(super) struct Caller<'a> {
    proc: &'a ProcFs,
    /// Its directory's name in `/proc`.
    number: String,
}

/// What its `status` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// The effective ids.
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    effective: u64,
    interrupted: bool,
}

impl ProcFs {
    /// Opens the `/proc` of this mount namespace.
    ///
    /// # Errors
    /// Those of `open(2)`.
    pub(super) fn open() -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open("/proc", flags, Mode::empty())?;
        let own = readlinkat(&fd, "self")?;
        let foreign = own != getpid().as_raw().to_string().as_str();
        Ok(ProcFs { fd, foreign })
    }

    /// Makes it the working directory, without which [`ProcFs::address_of`] means nothing.
    pub(super) fn enter(&self) -> io::Result<()> {
        Ok(fchdir(&self.fd)?)
    }

    /// The address of a Unix socket whose file is open here: relative, for the root may be one of the jail's making.
    pub(super) fn address_of(&self, file: &OwnedFd) -> Vec<u8> {
        let family = (AF_UNIX as sa_family_t).to_ne_bytes();
        let name = format!("self/fd/{}\0", file.as_raw_fd());
        [&family[..], name.as_bytes()].concat()
    }

    fn read(&self, name: &str) -> io::Result<String> {
        let fd = openat(&self.fd, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        io::read_to_string(std::fs::File::from(fd))
    }
}

impl<'a> Caller<'a> {
    /// The thread of this handle.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn new(thread: Pid, handle: BorrowedFd<'_>, proc: &'a ProcFs) -> io::Result<Self> {
        let number = if proc.foreign {
            // The kernel tells it as that /proc numbers it (kernel/fork.c, pidfd_show_fdinfo).
            let told = proc.read(&format!("self/fdinfo/{}", handle.as_raw_fd()))?;
            let number = field(&told, "Pid:").ok_or(Errno::ESRCH)?;
            number.trim().to_owned()
        } else {
            thread.to_string()
        };
        Ok(Caller { proc, number })
    }

    /// Its ids, and what interrupts it.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn status(&self) -> io::Result<Status> {
        Ok(Status::parse(&self.proc.read(&format!("{}/status", self.number))?))
    }

    /// Whether it is root as the jail knows it, whom no permission stops. In a user namespace of its own it is not.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn overrides(&self, status: &Status) -> io::Result<bool> {
        if status.effective & Capability::CAP_DAC_OVERRIDE.bitmask() == 0 {
            return Ok(false);
        }
        let namespace = |number: &str| {
            let found = fstatat(&self.proc.fd, format!("{number}/ns/user").as_str(), AtFlags::empty());
            found.map(|found| found.st_ino)
        };
        Ok(namespace(&self.number)? == namespace("self")?)
    }

    /// Whether it may open so many more descriptors, if it opens no others meanwhile.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn has_room_for(&self, more: usize) -> io::Result<bool> {
        let limits = self.proc.read(&format!("{}/limits", self.number))?;
        let words = field(&limits, "Max open files").unwrap_or_default();
        let Some(limit) = words
            .split_whitespace()
            .next()
            .and_then(|word| word.parse::<usize>().ok())
        else {
            return Ok(true);
        };
        let how = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut directory = Dir::openat(
            &self.proc.fd,
            format!("{}/fd", self.number).as_str(),
            how,
            Mode::empty(),
        )?;
        // Those beyond a limit that was lowered take no room below it.
        let open = directory.iter().flatten().filter(|entry| {
            let number = entry
                .file_name()
                .to_str()
                .ok()
                .and_then(|name| name.parse::<usize>().ok());
            number.is_some_and(|number| number < limit)
        });
        Ok(open.count() + more <= limit)
    }

    /// The file that it means by a path: as its root, its working directory and this thread's ids have it.
    ///
    /// What a process has open is reached by such names of its own alone. Any other way into `/proc` would be this process's way,
    /// who may look at itself, and at all others.
    ///
    /// # Errors
    /// Those of looking a path up; ELOOP at a name of what some process has open.
    pub(super) fn look_up(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let root = self.place("root")?;
        let found = thread::change_root(root.as_fd()).and_then(|()| {
            let (from, path) = self.start(path)?;
            if path.is_empty() {
                return Ok(from);
            }
            let how = OpenHow::new()
                .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
                .resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
            Ok(openat2(from, Path::new(OsStr::from_bytes(path)), how)?)
        });
        self.proc.enter()?;
        found
    }

    /// Where a path starts, and the rest of it. By `self` the caller means itself: so names that are too long are made short.
    fn start<'path>(&self, path: &'path [u8]) -> io::Result<(OwnedFd, &'path [u8])> {
        let own = path
            .strip_prefix(b"/proc/")
            .map(divide)
            .and_then(|(whose, rest)| self.is_own(whose).then_some(rest));
        let number = own.map_or_else(|| path.strip_prefix(b"/dev/fd/"), |own| own.strip_prefix(b"fd/"));
        if let Some(number) = number {
            let (number, rest) = divide(number);
            let number: u32 = std::str::from_utf8(number)
                .ok()
                .and_then(|number| number.parse().ok())
                .ok_or(Errno::ENOENT)?;
            return Ok((self.place(&format!("fd/{number}"))?, rest));
        }
        match own.map(divide) {
            Some((b"cwd", rest)) => Ok((self.place("cwd")?, rest)),
            Some((b"root", rest)) => Ok((self.place("root")?, rest)),
            Some(_) => Err(Errno::EACCES.into()),
            None if path.starts_with(b"/") => Ok((self.place("root")?, path)),
            None => Ok((self.place("cwd")?, path)),
        }
    }

    /// Whether a directory of `/proc` is its own, or that of its process.
    fn is_own(&self, name: &[u8]) -> bool {
        let process = || {
            let status = self.proc.read(&format!("{}/status", self.number)).ok()?;
            Some(field(&status, "Tgid:")?.trim() == std::str::from_utf8(name).ok()?)
        };
        [&b"self"[..], b"thread-self", self.number.as_bytes()].contains(&name)
            || (name.iter().all(u8::is_ascii_digit) && process().unwrap_or(false))
    }

    /// Something of its own that `/proc` leads to.
    fn place(&self, name: &str) -> io::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let name = format!("{}/{name}", self.number);
        Ok(openat(&self.proc.fd, name.as_str(), flags, Mode::empty())?)
    }
}

/// The first name of a path, and what follows it, without the slashes between.
fn divide(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
    let (first, rest) = path.split_at(end);
    let slashes = rest.iter().take_while(|byte| **byte == b'/').count();
    (first, rest.get(slashes..).unwrap_or_default())
}

impl Status {
    /// Whether a signal waits that the thread would handle.
    pub(super) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Reads proc_pid_status(5).
    fn parse(text: &str) -> Self {
        let numbers = |name| {
            let words = field(text, name).unwrap_or_default().split_whitespace();
            words.filter_map(|word| word.parse().ok()).collect::<Vec<u32>>()
        };
        let set = |name| u64::from_str_radix(field(text, name).unwrap_or_default().trim(), 16).unwrap_or(0);
        let nobody = |ids: Vec<u32>| ids.get(1).copied().unwrap_or(u32::MAX - 1);
        Status {
            uid: nobody(numbers("Uid:")),
            gid: nobody(numbers("Gid:")),
            groups: numbers("Groups:"),
            effective: set("CapEff:"),
            interrupted: (set("SigPnd:") | set("ShdPnd:")) & !set("SigBlk:") & !set("SigIgn:") != 0,
        }
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}

/// Copies from the memory of a thread.
///
/// # Errors
/// EPERM without the right to trace it; EFAULT.
pub(super) fn read(thread: Pid, from: u64, into: &mut [u8]) -> Result<(), Errno> {
    let place = [RemoteIoVec {
        base: from as usize,
        len: into.len(),
    }];
    if into.is_empty() {
        return Ok(());
    }
    let wanted = into.len();
    match process_vm_readv(thread, &mut [IoSliceMut::new(into)], &place) {
        Ok(read) if read == wanted => Ok(()),
        Err(Errno::EPERM) => Err(Errno::EPERM),
        _ => Err(Errno::EFAULT),
    }
}

/// A handle of the calling thread, or of its process where this kernel knows no other; and whether it is the thread's.
///
/// # Errors
/// When it has ended.
pub(super) fn handle(thread: Pid, proc: &ProcFs) -> io::Result<(OwnedFd, bool)> {
    match socket::thread_handle(thread) {
        Err(error)
            if [Errno::EINVAL, Errno::ENOENT]
                .map(|errno| Some(errno as i32))
                .contains(&error.raw_os_error()) =>
        {
            let status = proc.read(&format!("{thread}/status"))?;
            let process = field(&status, "Tgid:").and_then(|number| number.trim().parse().ok());
            socket::thread_handle(Pid::from_raw(process.ok_or(Errno::ESRCH)?)).map(|handle| (handle, false))
        }
        handle => handle.map(|handle| (handle, true)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Status, divide};

    #[test]
    fn the_first_name_of_a_path() {
        assert_eq!(divide(b"9/a/b"), (&b"9"[..], &b"a/b"[..]));
        assert_eq!(divide(b"9//a"), (&b"9"[..], &b"a"[..]));
        assert_eq!(divide(b"cwd"), (&b"cwd"[..], &b""[..]));
        assert_eq!(divide(b""), (&b""[..], &b""[..]));
    }

    #[test]
    fn the_status_of_a_thread() {
        let text = "Name:\ta\nUid:\t0\t1000\t0\t1000\nGid:\t5\t6\t7\t8\nGroups:\t6 27 \nSigPnd:\t0000000000000000\n\
                    ShdPnd:\t0000000000002000\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nCapEff:\t0000000000000002\n";
        let status = Status::parse(text);
        assert_eq!((status.uid, status.gid, &status.groups[..]), (1000, 6, &[6, 27][..]));
        assert!(status.interrupted());
        let ignored = text.replace("SigIgn:\t0000000000000000", "SigIgn:\t0000000000002000");
        assert!(!Status::parse(&ignored).interrupted());
        // What cannot be read is nobody's.
        assert_eq!(Status::parse("").uid, u32::MAX - 1);
    }
}
