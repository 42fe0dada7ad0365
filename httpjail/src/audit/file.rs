//! The request log's file: opened so that it cannot be led astray, written so that a line is whole or known to be torn, and
//! opened anew when somebody has moved it away.
//!
//! logrotate(8) renames a log and expects that its writer lets go of it, or (`copytruncate`) empties it under its writer, which
//! needs nothing but O_APPEND. A renamed file still takes lines that nobody looks for; so before each line the kernel is asked
//! where the open file is by now.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How long one line may wait for the reader of a pipe before the log counts as unwritable.
#[cfg(unix)]
const PATIENCE_MS: u8 = 100;

/// Opens (or creates, mode 0600) the log at `path` for appending, with the rights of whoever calls.
///
/// A link in the last place is not followed (`ELOOP`), and only a regular file, a FIFO with a reader, or a character
/// device (`/dev/null`) will do. The descriptor does not block: a FIFO that nobody reads, or reads too slowly, is a log
/// that cannot be written, not a proxy that stands still.
#[cfg(unix)]
pub fn open_log(path: &Path) -> io::Result<File> {
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
    use std::os::unix::fs::FileTypeExt;

    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_fifo() || kind.is_char_device() {
        return Ok(file);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "a log must be a regular file, a FIFO or a character device",
    ))
}

/// Opens the log as [`open_log`] does where root opens what another user may have arranged: no link is followed in any place
/// of the path (`ELOOP`), and a file with a second name is refused, for that may be anybody's file, linked to there.
#[cfg(target_os = "linux")]
pub fn open_log_without_links(path: &Path) -> io::Result<File> {
    use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
    use nix::sys::stat::Mode;
    use std::os::unix::fs::MetadataExt;

    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_CLOEXEC;
    let flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let how = OpenHow::new().flags(flags).mode(Mode::S_IRUSR | Mode::S_IWUSR);
    let file = File::from(openat2(AT_FDCWD, path, how.resolve(ResolveFlag::RESOLVE_NO_SYMLINKS))?);
    if file.metadata()?.nlink() > 1 {
        let text = "it has a second name: a log that root opens for another user must not be a hard link";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    fit_for_a_log(file)
}

/// Opens (or creates) the log at `path` for appending.
#[cfg(not(unix))]
pub fn open_log(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

/// A request log, opened, and how to open it anew.
pub struct LogFile {
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
            let written = match self.log.file.write(rest) {
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
mod tests {
    use super::*;
    use nix::libc;
    use std::io::Read;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};

    #[track_caller]
    fn refused(path: &Path, errno: i32) {
        assert_eq!(open_log(path).unwrap_err().raw_os_error(), Some(errno), "{path:?}");
    }

    #[test]
    fn what_may_be_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let fresh = dir.path().join("log");
        assert_eq!(open_log(&fresh).unwrap().metadata().unwrap().mode() & 0o7777, 0o600);
        open_log(&fresh).unwrap();
        open_log(Path::new("/dev/null")).unwrap();

        let link = dir.path().join("link");
        symlink(&fresh, &link).unwrap();
        refused(&link, libc::ELOOP);
        refused(dir.path(), libc::EISDIR);
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        refused(&socket, libc::ENXIO);

        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused(&fifo, libc::ENXIO);
        let _reader = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&fifo)
            .unwrap();
        open_log(&fifo).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_root_opens_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let real = dir.join("real");
        std::fs::create_dir(&real).unwrap();
        symlink(&real, dir.join("link")).unwrap();
        let refused = |path: &Path| open_log_without_links(path).unwrap_err();
        let fresh = open_log_without_links(&real.join("log")).unwrap();
        assert_eq!(fresh.metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(refused(&dir.join("link/log")).raw_os_error(), Some(libc::ELOOP));
        symlink(real.join("log"), real.join("last")).unwrap();
        assert_eq!(refused(&real.join("last")).raw_os_error(), Some(libc::ELOOP));
        std::fs::hard_link(real.join("log"), real.join("second")).unwrap();
        assert_eq!(refused(&real.join("second")).kind(), io::ErrorKind::InvalidInput);
        open_log_without_links(Path::new("/dev/null")).unwrap();
    }

    fn line_file(path: &Path) -> LineFile {
        let path = path.to_owned();
        LineFile::new(LogFile {
            file: open_log(&path).unwrap(),
            reopen: Box::new(move || open_log(&path)),
        })
    }

    #[test]
    fn lines_are_appended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "old\n").unwrap();
        line_file(&path).append(b"new\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\nnew\n");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_log_that_is_moved_emptied_or_removed_goes_on_at_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let mut file = line_file(&path);
        let mut write = |line: &str| {
            file.follow()?;
            file.append(line.as_bytes())
        };
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        write("1\n").unwrap();
        std::fs::rename(&path, &old).unwrap();
        write("2\n").unwrap();
        assert_eq!((text(&old).as_str(), text(&path).as_str()), ("1\n", "2\n"));
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);

        // As `copytruncate` does: no hole is left before the next line.
        std::fs::write(&path, "").unwrap();
        write("3\n").unwrap();
        assert_eq!(text(&path), "3\n");

        std::fs::remove_file(&path).unwrap();
        // A link in its place is not followed, and what is not written is an error until it can be again.
        symlink(&old, &path).unwrap();
        assert_eq!(write("4\n").unwrap_err().raw_os_error(), Some(libc::ELOOP));
        std::fs::remove_file(&path).unwrap();
        write("5\n").unwrap();
        assert_eq!((text(&old).as_str(), text(&path).as_str()), ("1\n", "5\n"));
    }

    #[test]
    fn many_writers_make_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::thread::scope(|scope| {
            for name in ["a", "b", "c", "d"] {
                let mut file = line_file(&path);
                scope.spawn(move || {
                    let line = name.repeat(3000) + "\n";
                    (0..50).for_each(|_| file.append(line.as_bytes()).unwrap());
                });
            }
        });
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 200);
        assert!(
            text.lines()
                .all(|line| line.len() == 3000 && line.bytes().all(|byte| byte == line.as_bytes()[0]))
        );
    }

    #[test]
    fn a_torn_line_costs_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut reader = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&fifo)
            .unwrap();
        let mut file = line_file(&fifo);

        // More than a pipe holds: the first write is short, and nobody reads.
        let long = vec![b'a'; 1 << 20];
        assert_eq!(file.append(&long).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(file.separator(), b"\n");

        let mut piped = vec![0; 1 << 20];
        let count = reader.read(&mut piped).unwrap();
        assert!(piped[..count].iter().all(|byte| *byte == b'a'));
        let next = [file.separator(), b"whole\n"].concat();
        file.append(&next).unwrap();
        assert_eq!(file.separator(), b"");
        let mut tail = Vec::new();
        drop(file);
        reader.read_to_end(&mut tail).unwrap();
        assert!(tail.ends_with(b"a\nwhole\n") || tail == b"\nwhole\n");
    }
}
