//! Opens, writes and reopens the request log's file.
//!
//! A link cannot redirect the file. A line is written whole, or it is known to be torn. logrotate(8) either renames a log and expects
//! its writer to reopen it, or (`copytruncate`) truncates it, for which O_APPEND is enough. A renamed file still accepts
//! lines, but in a place where they are not expected. So before each line this module asks the kernel for the path of the open file.

#[cfg(target_os = "linux")]
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
#[cfg(unix)]
use std::os::fd::BorrowedFd;
#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// How long one line may wait for the reader of a pipe. After that the log counts as unwritable.
#[cfg(unix)]
const PATIENCE_MS: u8 = 100;

/// The size that a pipe accepts without blocking when poll(2) says that it is writable.
const PIECE: usize = 4096;

/// Opens (or creates, mode 0600) the log at `path` for appending, with the rights of the process.
///
/// A link in the last place of the path is not followed (`ELOOP`). A file with a second name is refused, because a jailed command
/// could truncate it by that name. The file must be regular, a FIFO with a reader, or a character device (`/dev/null`). The
/// descriptor does not block: a FIFO without a reader, or with a slow one, makes the log unwritable but does not stop the proxy.
#[cfg(unix)]
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    use nix::libc;
    use std::os::unix::fs::OpenOptionsExt;

    // O_NONBLOCK also makes open(2) fail with ENXIO instead of waiting for a FIFO's reader. With O_NOCTTY a terminal does
    // not become the controlling one. std adds O_CLOEXEC.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)?;
    fit_for_a_log(file)
}

#[cfg(unix)]
fn fit_for_a_log(file: File) -> io::Result<File> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    let found = file.metadata()?;
    let kind = found.file_type();
    if kind.is_file() && found.nlink() > 1 {
        let text = "it has a second name (a hard link), so another user could change it or own it";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    if kind.is_file() || kind.is_fifo() || kind.is_char_device() {
        return Ok(file);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "a log must be a regular file, a FIFO or a character device",
    ))
}

/// Opens the log as [`open_log`] does, but follows no link in any place of the path (`ELOOP`): for root, where another user may
/// have arranged the path.
#[cfg(target_os = "linux")]
pub(crate) fn open_log_without_links(path: &Path) -> io::Result<File> {
    open_at(nix::fcntl::AT_FDCWD, path, ResolveFlag::RESOLVE_NO_SYMLINKS)
}

#[cfg(target_os = "linux")]
fn open_at(directory: BorrowedFd<'_>, path: &Path, resolve: ResolveFlag) -> io::Result<File> {
    use nix::sys::stat::Mode;

    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_CLOEXEC;
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let how = OpenHow::new().flags(flags).mode(Mode::S_IRUSR | Mode::S_IWUSR);
    let file = File::from(openat2(directory, path, how.resolve(resolve))?);
    fit_for_a_log(file)
}

/// The location of a log: its name in an open directory. The jail covers the log, so it cannot be renamed there. But a directory
/// above it can, and then a new log opened by path would be where the command can write it.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct LogLocation {
    directory: OwnedFd,
    name: OsString,
    resolve: ResolveFlag,
}

#[cfg(target_os = "linux")]
impl LogLocation {
    /// Returns the location where [`open_log`] opens `path`.
    ///
    /// # Errors
    /// Fails as `open(2)` does.
    pub(crate) fn of(path: &Path) -> io::Result<LogLocation> {
        LogLocation::found(path, ResolveFlag::empty())
    }

    /// Returns the location where [`open_log_without_links`] opens `path`.
    ///
    /// # Errors
    /// Fails as `open(2)` does.
    pub(crate) fn without_links(path: &Path) -> io::Result<LogLocation> {
        LogLocation::found(path, ResolveFlag::RESOLVE_NO_SYMLINKS)
    }

    fn found(path: &Path, resolve: ResolveFlag) -> io::Result<LogLocation> {
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
        let directory = directory.unwrap_or(Path::new("."));
        let directory = openat2(nix::fcntl::AT_FDCWD, directory, how.resolve(resolve))?;
        Ok(LogLocation {
            directory,
            name,
            resolve,
        })
    }

    /// Opens (or creates) the log at this location.
    ///
    /// # Errors
    /// Fails as the function that opened it first.
    pub(crate) fn open(&self) -> io::Result<File> {
        open_at(self.directory.as_fd(), self.name.as_ref(), self.resolve)
    }
}

/// Opens (or creates) the log at `path` for appending.
#[cfg(not(unix))]
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

/// Opens standard output or error as a log. Opens the file a second time, so that other writers keep their own flags. Where that
/// is impossible (a socket, another user's terminal), each line waits until the stream is writable. A regular file is shared,
/// with its offset: each writer continues where the other one stopped.
///
/// # Errors
/// Fails when the stream is closed.
#[cfg(unix)]
pub(crate) fn open_stream(stream: BorrowedFd<'_>) -> io::Result<File> {
    use nix::libc;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let shared = File::from(stream.try_clone_to_owned()?);
    if shared.metadata()?.is_file() {
        return Ok(shared);
    }
    let link = format!("/proc/self/fd/{}", stream.as_raw_fd());
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let second = File::options().append(true).custom_flags(flags).open(link);
    Ok(second.unwrap_or(shared))
}

/// An open request log, and how to open it again.
pub(crate) struct LogFile {
    /// Open for appending.
    pub file: File,
    /// Opens it again at its old location.
    pub reopen: Box<dyn FnMut() -> io::Result<File> + Send>,
}

/// A file to which whole lines are written.
pub(super) struct LineFile {
    log: LogFile,
    /// Its path when it was opened; `None` if it is not a regular file, or its path is unknown.
    path: Option<PathBuf>,
    /// It is shared with other processes, and may block.
    blocks: bool,
    /// The last line was written in part. The next one begins with a newline, so that only one line is lost.
    torn: bool,
}

impl fmt::Debug for LineFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineFile")
            .field("file", &self.log.file)
            .finish_non_exhaustive()
    }
}

impl LineFile {
    pub(super) fn new(log: LogFile) -> Self {
        LineFile {
            path: path_of(&log.file),
            blocks: may_block(&log.file),
            log,
            torn: false,
        }
    }

    /// Opens the file again if it has been moved. Earlier lines stay in the moved file.
    pub(super) fn follow(&mut self) -> io::Result<()> {
        if self.path.is_some() && path_of(&self.log.file) != self.path {
            self.log.file = (self.log.reopen)()?;
            self.path = path_of(&self.log.file);
            self.torn = false;
        }
        Ok(())
    }

    /// Returns what must come before the next line.
    pub(super) fn separator(&self) -> &'static [u8] {
        if self.torn { b"\n" } else { b"" }
    }

    /// Writes `line` (with separator and newline) with one write(2), and further ones only after a short write.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut rest = line;
        while !rest.is_empty() {
            // A stream that may block gets no more than poll(2) promises (pipe(7), PIPE_BUF), and waits no longer than others.
            let most = if self.blocks { rest.len().min(PIECE) } else { rest.len() };
            if self.blocks && !wait_writable(&self.log.file) {
                self.torn |= rest.len() < line.len();
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let written = match self.log.file.write(&rest[..most]) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && wait_writable(&self.log.file) => continue,
                result => result,
            };
            match written {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) => {
                    self.torn |= rest.len() < line.len();
                    return Err(error);
                }
            }
        }
        self.torn = false;
        Ok(())
    }
}

/// Returns the current path of an open file (proc_pid_fd(5)). It changes with a rename, and ends in ` (deleted)` after an unlink. A
/// process may always read its own links, whatever rights it has given up (fs/proc/base.c, proc_fd_access_allowed).
#[cfg(target_os = "linux")]
fn path_of(file: &File) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    let regular = file.metadata().is_ok_and(|found| found.is_file());
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    regular.then(|| std::fs::read_link(link).ok()).flatten()
}

/// On other systems a log is never reopened.
#[cfg(not(target_os = "linux"))]
fn path_of(_file: &File) -> Option<PathBuf> {
    None
}

/// Returns true if writing may block: on a stream that could not be opened a second time.
#[cfg(unix)]
fn may_block(file: &File) -> bool {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    let flags = fcntl(file, FcntlArg::F_GETFL).map_or(OFlag::empty(), OFlag::from_bits_truncate);
    !flags.contains(OFlag::O_NONBLOCK) && !file.metadata().is_ok_and(|found| found.is_file())
}

#[cfg(not(unix))]
fn may_block(_file: &File) -> bool {
    false
}

/// Waits a moment until a non-blocking descriptor is writable. Returns false if it is not.
#[cfg(unix)]
pub(super) fn wait_writable(file: &File) -> bool {
    use nix::poll::{PollFd, PollFlags, poll};
    use std::os::fd::AsFd;

    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PATIENCE_MS).is_ok_and(|ready| ready > 0)
}

/// Only Unix has logs that do not block.
#[cfg(not(unix))]
pub(super) fn wait_writable(_file: &File) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests;
