//! The request log's file: opened so that it cannot be led astray, written so that a line is whole or known to be torn, and
//! opened anew when somebody has moved it away.
//!
//! logrotate(8) renames a log and expects that its writer lets go of it, or (`copytruncate`) empties it under its writer, which
//! needs nothing but O_APPEND. A renamed file still takes lines that nobody looks for; so before each line the kernel is asked
//! where the open file is by now.

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

/// How long one line may wait for the reader of a pipe before the log counts as unwritable.
#[cfg(unix)]
const PATIENCE_MS: u8 = 100;

/// As much as a pipe takes that poll(2) says is writable.
const PIECE: usize = 4096;

/// Opens (or creates, mode 0600) the log at `path` for appending, with the rights of whoever calls.
///
/// A link in the last place is not followed (`ELOOP`), a file with a second name is refused, for by that a jailed command could
/// empty it, and only a regular file, a FIFO with a reader, or a character
/// device (`/dev/null`) will do. The descriptor does not block: a FIFO that nobody reads, or reads too slowly, is a log
/// that cannot be written, not a proxy that stands still.
#[cfg(unix)]
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    use nix::libc;
    use std::os::unix::fs::OpenOptionsExt;

    // O_NONBLOCK also keeps open(2) itself from waiting for a FIFO's reader (ENXIO instead), and O_NOCTTY keeps a
    // terminal from becoming ours. std adds O_CLOEXEC.
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

/// Opens the log as [`open_log`] does where root opens what another user may have arranged: no link is followed in any place
/// of the path (`ELOOP`).
#[cfg(target_os = "linux")]
pub(crate) fn open_log_without_links(path: &Path) -> io::Result<File> {
    open_at(nix::fcntl::AT_FDCWD, path, ResolveFlag::RESOLVE_NO_SYMLINKS)
}

#[cfg(target_os = "linux")]
fn open_at(folder: BorrowedFd<'_>, path: &Path, resolve: ResolveFlag) -> io::Result<File> {
    use nix::sys::stat::Mode;

    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_CLOEXEC;
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let how = OpenHow::new().flags(flags).mode(Mode::S_IRUSR | Mode::S_IWUSR);
    let file = File::from(openat2(folder, path, how.resolve(resolve))?);
    fit_for_a_log(file)
}

/// A log's place: its name in a folder that is held. The log itself is covered in the jail and cannot be renamed there, but a
/// folder above it can: by its path a new log would be opened where the command can write it.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct LogPlace {
    folder: OwnedFd,
    name: OsString,
    resolve: ResolveFlag,
}

#[cfg(target_os = "linux")]
impl LogPlace {
    /// Where [`open_log`] opens `path`.
    ///
    /// # Errors
    /// Those of `open(2)`.
    pub(crate) fn of(path: &Path) -> io::Result<LogPlace> {
        LogPlace::found(path, ResolveFlag::empty())
    }

    /// Where [`open_log_without_links`] does.
    ///
    /// # Errors
    /// Those of `open(2)`.
    pub(crate) fn without_links(path: &Path) -> io::Result<LogPlace> {
        LogPlace::found(path, ResolveFlag::RESOLVE_NO_SYMLINKS)
    }

    fn found(path: &Path, resolve: ResolveFlag) -> io::Result<LogPlace> {
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
        let folder = folder.unwrap_or(Path::new("."));
        let folder = openat2(nix::fcntl::AT_FDCWD, folder, how.resolve(resolve))?;
        Ok(LogPlace { folder, name, resolve })
    }

    /// Opens (or creates) the log there.
    ///
    /// # Errors
    /// As the function that opened it first.
    pub(crate) fn open(&self) -> io::Result<File> {
        open_at(self.folder.as_fd(), self.name.as_ref(), self.resolve)
    }
}

/// Opens (or creates) the log at `path` for appending.
#[cfg(not(unix))]
pub fn open_log(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

/// Standard output or error as a log. It is opened anew, so that whoever else writes there does so as before; where that cannot
/// be (a socket, somebody else's terminal), each line waits for its place. A regular file is shared: whoever writes there goes
/// on where the other one stopped.
///
/// # Errors
/// When it is closed.
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
    let anew = File::options().append(true).custom_flags(flags).open(link);
    Ok(anew.unwrap_or(shared))
}

/// A request log, opened, and how to open it anew.
pub(crate) struct LogFile {
    /// Open for appending.
    pub file: File,
    /// Opens it anew, at its old place.
    pub reopen: Box<dyn FnMut() -> io::Result<File> + Send>,
}

/// A file that takes whole lines.
pub(super) struct LineFile {
    log: LogFile,
    /// Where it was when it was opened; `None` for what is no regular file, and where that cannot be told.
    place: Option<PathBuf>,
    /// It is not ours alone, and may block.
    blocks: bool,
    /// The last line was written in part: the next one begins with a newline, so that only one line is lost.
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
            place: place_of(&log.file),
            blocks: may_block(&log.file),
            log,
            torn: false,
        }
    }

    /// Opens the file anew if it is not where it was. Its lines go on there; those before stay in what was moved.
    pub(super) fn follow(&mut self) -> io::Result<()> {
        if self.place.is_some() && place_of(&self.log.file) != self.place {
            self.log.file = (self.log.reopen)()?;
            self.place = place_of(&self.log.file);
            self.torn = false;
        }
        Ok(())
    }

    /// What must stand before the next line.
    pub(super) fn separator(&self) -> &'static [u8] {
        if self.torn { b"\n" } else { b"" }
    }

    /// Writes `line` (separator and newline included): one write(2), and more only where the first was short.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut rest = line;
        while !rest.is_empty() {
            // What may block takes as much as poll(2) promises (pipe(7), PIPE_BUF), and is not waited for longer than others.
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

/// The path of an open file as it is now (proc_pid_fd(5)): another after a rename, with ` (deleted)` behind it after an unlink.
/// A process may always ask that of itself, whatever rights it has given up (fs/proc/base.c, proc_fd_access_allowed).
#[cfg(target_os = "linux")]
fn place_of(file: &File) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    let regular = file.metadata().is_ok_and(|found| found.is_file());
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    regular.then(|| std::fs::read_link(link).ok()).flatten()
}

/// Elsewhere a log is never opened anew.
#[cfg(not(target_os = "linux"))]
fn place_of(_file: &File) -> Option<PathBuf> {
    None
}

/// Whether writing may wait for a reader: so does a stream that could not be opened anew.
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

/// Waits a moment until a descriptor that does not block takes more; `false` when it will not.
#[cfg(unix)]
pub(super) fn wait_writable(file: &File) -> bool {
    use nix::poll::{PollFd, PollFlags, poll};
    use std::os::fd::AsFd;

    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PATIENCE_MS).is_ok_and(|ready| ready > 0)
}

/// Nothing but Unix has logs that do not block.
#[cfg(not(unix))]
pub(super) fn wait_writable(_file: &File) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests;
