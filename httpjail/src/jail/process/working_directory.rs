//! The directory in which the command starts: the one in which httpjail was called, or the next best.
//!
//! A program inherits its working directory even if it may not enter it or the directory was removed. The command must
//! enter it again, by its path and through the jail's own mounts: the inherited one may lie below a covered directory,
//! and `..` leads from it into the mounts of the host. So a directory that has no path any more is not entered. A
//! directory that the command's user may not enter, init enters for that user, if it is the very one that was
//! inherited: otherwise a user could lead httpjail, which runs as root, to another directory.

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::unistd::{chdir, fchdir};

use crate::jail::sandbox::user_identity::UserIdentity;

/// Where the command starts.
#[derive(Debug)]
pub(crate) struct WorkingDirectory {
    path: Option<PathBuf>,
    /// Device and inode of what was inherited.
    inherited: Option<(u64, u64)>,
    home: PathBuf,
    /// Says that it is another than the caller's.
    tell: fn(&str),
    /// It is a process's that is no parent of this one: what the jail shows at its path may be something else.
    of_another: bool,
}

impl WorkingDirectory {
    /// The calling process's own directory, for this user.
    pub(crate) fn inherited(identity: &UserIdentity, tell: fn(&str)) -> Self {
        // Without a look-up: that of `.` needs the right to enter it.
        let found = fstatat(AT_FDCWD, "", AtFlags::AT_EMPTY_PATH);
        WorkingDirectory {
            path: std::env::current_dir().ok(),
            inherited: found.ok().map(|found| which(&found)),
            home: identity.home.clone(),
            tell,
            of_another: false,
        }
    }

    /// That of who took the jail from a pool: the very directory with this device and inode, or the home if it has no path any
    /// more. The command enters it with its own rights alone.
    pub(super) fn instead(&self, path: PathBuf, directory: Option<(u64, u64)>, identity: &UserIdentity) -> Self {
        WorkingDirectory {
            path: directory.map(|_| path),
            inherited: directory,
            home: identity.home.clone(),
            tell: self.tell,
            of_another: true,
        }
    }

    /// The root directory, which everybody may enter.
    pub(crate) fn root() -> Self {
        WorkingDirectory {
            path: Some("/".into()),
            inherited: None,
            home: "/".into(),
            tell: |_| (),
            of_another: false,
        }
    }

    /// Enters it with the rights of init. Whether that was possible.
    pub(crate) fn enter(&self) -> bool {
        let Some(path) = self.path.as_ref().filter(|_| !self.of_another) else {
            return false;
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(directory) = open(path, flags, Mode::empty()) else {
            return false;
        };
        let same = fstat(&directory).is_ok_and(|found| Some(which(&found)) == self.inherited);
        same && fchdir(directory.as_fd()).is_ok()
    }

    /// Enters it with the rights of the command's user, or his home, or the root directory. Returns the one that is not the
    /// caller's.
    ///
    /// # Errors
    /// When not even that can be entered.
    pub(crate) fn enter_as_user(&self) -> io::Result<Option<&Path>> {
        let refused = match &self.path {
            None => "the current directory no longer exists".to_owned(),
            Some(path) => match chdir(path) {
                Ok(()) if self.of_another && !self.is_here() => {
                    return Err(io::Error::other(format!(
                        "the jail shows another directory at {}: what is mounted there came after the jail was made",
                        path.display()
                    )));
                }
                Ok(()) => return Ok(None),
                Err(error) => format!("cannot enter {}: {error}", path.display()),
            },
        };
        let instead = match chdir(&self.home) {
            Ok(()) => &self.home,
            Err(_) => {
                chdir("/").map_err(|error| io::Error::other(format!("{refused}; nor /: {error}")))?;
                Path::new("/")
            }
        };
        (self.tell)(&format!("{refused}; the command starts in {}", instead.display()));
        Ok(Some(instead))
    }

    /// Whether it is the one that this process is in.
    fn is_here(&self) -> bool {
        let here = fstatat(AT_FDCWD, "", AtFlags::AT_EMPTY_PATH);
        here.is_ok_and(|found| Some(which(&found)) == self.inherited)
    }
}

fn which(found: &FileStat) -> (u64, u64) {
    (found.st_dev, found.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its user could have put another directory, or a link to one, in its place.
    #[test]
    fn a_folder_that_was_changed_for_another_is_not_entered() {
        let place = tempfile::tempdir().unwrap();
        let found = std::fs::metadata(place.path()).unwrap();
        let inherited = std::os::unix::fs::MetadataExt::ino(&found) + 1;
        let device = std::os::unix::fs::MetadataExt::dev(&found);
        let working_directory = WorkingDirectory {
            path: Some(place.path().into()),
            inherited: Some((device, inherited)),
            home: "/".into(),
            tell: |_| (),
            of_another: false,
        };
        let before = std::env::current_dir().unwrap();
        assert!(!working_directory.enter());
        assert_eq!(std::env::current_dir().unwrap(), before);
    }
}
