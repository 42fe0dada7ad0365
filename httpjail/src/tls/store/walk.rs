//! Walks to the authority's directory, one open directory at a time, and makes missing ones.
//!
//! Root may walk through directories that other users can write to. A link is followed only if root or the owner made it (the
//! rule of the kernel's `protected_symlinks`). Root, acting for another user, makes a directory only in one that belongs to that
//! user, so that a link cannot make root create something elsewhere. A race can change where a path leads, but every directory
//! is checked by its open descriptor.

use super::error::StoreError;
use super::owner::Owner;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::geteuid;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// The kernel's limit of links in one path (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// The flag to pass through a directory: those above a home are often not readable.
#[cfg(target_os = "linux")]
const PASS: OFlag = OFlag::O_PATH;
#[cfg(not(target_os = "linux"))]
const PASS: OFlag = OFlag::O_RDONLY;

/// Opens `dir`. Creates it and the directories above it with mode 0700 if they are missing.
pub(super) fn open_or_make(dir: &Path, owner: Owner) -> Result<(OwnedFd, FileStat), StoreError> {
    if !dir.is_absolute() {
        return Err(StoreError::Relative(dir.to_owned()));
    }
    let mut walk = Walk {
        fd: top()?,
        path: "/".into(),
        owner,
    };
    let mut ahead = steps(dir);
    let mut links = 0;
    while let Some(step) = ahead.pop_front() {
        match walk.step(&step)? {
            None => {}
            Some(_) if links == MOST_LINKS => return Err(walk.fault("follow", &step, Errno::ELOOP)),
            Some(link) => {
                links += 1;
                if link.is_absolute() {
                    (walk.fd, walk.path) = (top()?, "/".into());
                }
                for step in steps(&link).into_iter().rev() {
                    ahead.push_front(step);
                }
            }
        }
    }
    let status = fstat(&walk.fd).map_err(|errno| walk.fault("examine", OsStr::new(""), errno))?;
    Ok((walk.fd, status))
}

fn top() -> Result<OwnedFd, StoreError> {
    open("/", PASS | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).map_err(|errno| StoreError::Io {
        operation: "open",
        path: "/".into(),
        errno,
    })
}

fn steps(path: &Path) -> VecDeque<OsString> {
    let steps = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    steps.map(|part| part.as_os_str().to_owned()).collect()
}

struct Walk {
    fd: OwnedFd,
    path: PathBuf,
    owner: Owner,
}

impl Walk {
    /// Enters the directory `name`. If it is a link, stays and returns its target.
    fn step(&mut self, name: &OsStr) -> Result<Option<PathBuf>, StoreError> {
        let status = match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return self.make(name).map(|()| None),
            other => other.map_err(|errno| self.fault("examine", name, errno))?,
        };
        let kind = SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits());
        if kind == SFlag::S_IFLNK {
            if status.st_uid != 0 && status.st_uid != self.owner.uid.as_raw() {
                return Err(StoreError::ForeignLink(self.path.join(name)));
            }
            let target = readlinkat(&self.fd, name).map_err(|errno| self.fault("read the link", name, errno))?;
            return Ok(Some(target.into()));
        }
        self.enter(name, PASS).map(|()| None)
    }

    fn enter(&mut self, name: &OsStr, how: OFlag) -> Result<(), StoreError> {
        let flags = how | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        self.fd = openat(&self.fd, name, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::ENOTDIR => StoreError::NotDirectory(self.path.join(name)),
            errno => self.fault("open", name, errno),
        })?;
        self.path.push(name);
        Ok(())
    }

    fn make(&mut self, name: &OsStr) -> Result<(), StoreError> {
        let above = fstat(&self.fd).map_err(|errno| self.fault("examine", OsStr::new(""), errno))?;
        if self.owner.is_another() && above.st_uid != self.owner.uid.as_raw() {
            let (path, uid, owner) = (self.path.clone(), above.st_uid, self.owner.uid.as_raw());
            return Err(StoreError::ForeignDirectory { path, uid, owner });
        }
        match mkdirat(&self.fd, name, Mode::S_IRWXU) {
            Ok(()) => {
                self.enter(name, OFlag::O_RDONLY)?;
                self.give_away()
                    .map_err(|errno| self.fault("change the owner of", OsStr::new(""), errno))
            }
            // Another run or the owner has just made it. It is checked like any other.
            Err(Errno::EEXIST) => self.enter(name, PASS),
            Err(errno) => Err(self.fault("create the directory", name, errno)),
        }
    }

    /// Changes the owner of a directory that was just made. Between `mkdir` and `open` the owner may have put another of root's
    /// directories in its place (by a rename in the owner's directory). So only an empty directory is given, which has no value.
    fn give_away(&self) -> Result<(), Errno> {
        if !self.owner.is_another() {
            return Ok(());
        }
        let status = fstat(&self.fd)?;
        if status.st_uid == geteuid().as_raw() {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            for entry in Dir::openat(&self.fd, ".", flags, Mode::empty())?.iter() {
                if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
                    return Err(Errno::EPERM);
                }
            }
        }
        self.owner.give(&self.fd)
    }

    fn fault(&self, operation: &'static str, name: &OsStr, errno: Errno) -> StoreError {
        StoreError::Io {
            operation,
            path: self.path.join(name),
            errno,
        }
    }
}

/// Treats a directory as if it was just made.
#[cfg(test)]
pub(super) fn give_away_at(path: &Path, owner: Owner) -> Result<(), Errno> {
    let fd = open(
        path,
        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    Walk {
        fd,
        path: path.to_owned(),
        owner,
    }
    .give_away()
}
