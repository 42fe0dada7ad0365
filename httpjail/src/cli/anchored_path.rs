//! A file's name in a directory that is held open. What httpjail writes at the end of a run lands where it was meant to at the
//! start, whatever the command has done to the path since.

use std::io;
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
pub(crate) use linux::AnchoredPath;

/// Elsewhere a path is all there is.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(crate) struct AnchoredPath(PathBuf);

#[cfg(not(target_os = "linux"))]
impl AnchoredPath {
    pub(crate) fn of(path: &Path, _owners: &[u32]) -> io::Result<AnchoredPath> {
        Ok(AnchoredPath(path.to_owned()))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::VecDeque;
    use std::ffi::{OsStr, OsString};
    use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
    use std::path::Component;

    use nix::errno::Errno;
    use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
    use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};

    use super::{Path, PathBuf, io};

    /// As many links as the kernel follows in one path (path_resolution(7)).
    const MOST_LINKS: usize = 40;
    const PASS: OFlag = OFlag::O_PATH
        .union(OFlag::O_DIRECTORY)
        .union(OFlag::O_NOFOLLOW)
        .union(OFlag::O_CLOEXEC);

    /// A name in an open folder.
    #[derive(Debug)]
    pub(crate) struct AnchoredPath {
        folder: OwnedFd,
        name: OsString,
    }

    impl AnchoredPath {
        /// Finds the folder with the caller's rights. Links that lead there must be root's or one of `owners`'.
        ///
        /// # Errors
        /// Those of `open(2)`; `ELOOP` at somebody else's link.
        pub(crate) fn of(path: &Path, owners: &[u32]) -> io::Result<AnchoredPath> {
            let mut ahead: VecDeque<OsString> = steps(path);
            let name = path.file_name().ok_or(Errno::EISDIR)?.to_owned();
            ahead.pop_back();
            let mut folder = start(path)?;
            let mut links = 0;
            while let Some(step) = ahead.pop_front() {
                let found: FileStat = fstatat(&folder, step.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
                let kind = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits());
                if kind != SFlag::S_IFLNK {
                    folder = openat(&folder, step.as_os_str(), PASS, Mode::empty())?;
                    continue;
                }
                links += 1;
                if links > MOST_LINKS || (found.st_uid != 0 && !owners.contains(&found.st_uid)) {
                    return Err(Errno::ELOOP.into());
                }
                let target = PathBuf::from(readlinkat(&folder, step.as_os_str())?);
                if target.is_absolute() {
                    folder = start(&target)?;
                }
                steps(&target).into_iter().rev().for_each(|step| ahead.push_front(step));
            }
            Ok(AnchoredPath { folder, name })
        }

        /// The file by a path that leads there as long as this is held, in this process and those forked from it.
        pub(crate) fn path(&self) -> PathBuf {
            Path::new("/proc/self/fd")
                .join(self.folder.as_raw_fd().to_string())
                .join(&self.name)
        }

        /// What a fork must keep open.
        pub(crate) fn descriptor(&self) -> RawFd {
            self.folder.as_raw_fd()
        }
    }

    fn start(path: &Path) -> nix::Result<OwnedFd> {
        let from = if path.is_absolute() { "/" } else { "." };
        open(from, PASS, Mode::empty())
    }

    fn steps(path: &Path) -> VecDeque<OsString> {
        let steps = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            Component::ParentDir => Some(OsStr::new("..")),
            _ => None,
        });
        steps.map(OsStr::to_owned).collect()
    }

    #[cfg(test)]
    mod tests {
        use std::fs;
        use std::os::unix::fs::{lchown, symlink};

        use nix::unistd::geteuid;

        use super::*;

        // Proves: K16.
        #[test]
        fn a_place_stays_where_it_was() {
            let dir = tempfile::tempdir().expect("a folder");
            let at = |path: &str| dir.path().join(path);
            fs::create_dir(at("one")).expect("a folder");
            let place = AnchoredPath::of(&at("one/../one/file"), &[]).expect("a place");
            fs::rename(at("one"), at("two")).expect("renamed");
            fs::create_dir(at("one")).expect("a folder");
            fs::write(place.path(), "x").expect("written");
            assert!(at("two/file").exists() && !at("one/file").exists());
        }

        // Proves: K16.
        #[test]
        fn only_links_of_those_who_are_trusted_are_followed() {
            let dir = tempfile::tempdir().expect("a folder");
            let at = |path: &str| dir.path().join(path);
            fs::create_dir(at("one")).expect("a folder");
            symlink("one", at("link")).expect("a link");
            let me = geteuid().as_raw();
            let place = AnchoredPath::of(&at("link/file"), &[me]).expect("a place");
            fs::write(place.path(), "x").expect("written");
            assert!(at("one/file").exists());
            if geteuid().is_root() {
                lchown(at("link"), Some(4321), None).expect("root's right");
                let error = AnchoredPath::of(&at("link/file"), &[me]).expect_err("somebody else's");
                assert_eq!(error.raw_os_error(), Some(Errno::ELOOP as i32));
            }
            symlink("loop", at("loop")).expect("a link");
            assert!(AnchoredPath::of(&at("loop/file"), &[me]).is_err());
            assert!(AnchoredPath::of(Path::new("/"), &[me]).is_err());
        }
    }
}
