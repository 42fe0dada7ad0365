//! The policy file and those that it takes groups from, read with the rights of the user who named it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::cli::invoking_user::InvokingUser;
use crate::cli::output::{USAGE, usage};
use crate::config::file;
use crate::config::{ConfigError, STDIN};
use crate::failure::Failure;

/// More of a file is not read, whatever it is.
const BYTES_MAX: u64 = 64 << 20;

/// How long each piece of a pipe is waited for.
#[cfg(unix)]
const PATIENCE_MS: u16 = 10_000;

/// The file of `--config`, if there is one.
///
/// # Errors
/// As [`load`].
pub(crate) fn named(path: Option<&Path>, caller: &InvokingUser) -> Result<Option<file::File>, Failure> {
    path.map(|path| load(path, caller)).transpose()
}

/// Reads the policy file at `path`.
///
/// # Errors
/// When it cannot be read, or is no policy.
pub(crate) fn load(path: &Path, caller: &InvokingUser) -> Result<file::File, Failure> {
    let from_stdin = path.as_os_str() == "-";
    let name = match from_stdin {
        true => STDIN.to_owned(),
        false => path.display().to_string(),
    };
    let mut read = |path: &Path| {
        caller
            .act(|| bytes_of(path))
            .flatten()
            .map_err(|error| error.to_string())
    };
    let bytes = match from_stdin {
        true => whole(stdin()).map_err(|error| error.to_string()),
        false => read(path),
    };
    let bytes = bytes.map_err(|error| Failure {
        status: USAGE,
        ..Failure::new(format!("cannot read {name}: {error}"))
    })?;
    file::load(&name, bytes, &mut read).map_err(|error| usage(ConfigError::File(error)))
}

/// A whole file, unless it is too large for one. A pipe that nobody writes to is not waited for without end.
pub(crate) fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    whole(opened(path)?)
}

fn whole(file: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {} MiB", BYTES_MAX >> 20)));
    }
    Ok(bytes)
}

/// Standard input. It is others' too, and may block: each piece is waited for first, but for a terminal's, where somebody types.
#[cfg(unix)]
fn stdin() -> impl io::Read {
    use nix::poll::{PollFd, PollFlags, poll};
    use std::io::IsTerminal as _;
    use std::os::fd::AsFd as _;

    struct Waiting(io::Stdin);
    impl io::Read for Waiting {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let mut waiting = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            if !self.0.is_terminal() && poll(&mut waiting, PATIENCE_MS)? == 0 {
                return Err(unheard());
            }
            self.0.read(into)
        }
    }
    Waiting(io::stdin())
}

#[cfg(not(unix))]
fn stdin() -> impl io::Read {
    io::stdin()
}

#[cfg(unix)]
fn unheard() -> io::Error {
    let text = format!("nobody wrote to it for {} seconds", PATIENCE_MS / 1000);
    io::Error::new(io::ErrorKind::TimedOut, text)
}

#[cfg(unix)]
fn opened(path: &Path) -> io::Result<impl io::Read> {
    use nix::libc;
    use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
    // It also keeps open(2) from waiting for whoever is at a pipe's other end.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    // Not what a shell has opened for us already.
    let unheard = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_fifo());
    Ok(Patient { file, unheard })
}

#[cfg(not(unix))]
fn opened(path: &Path) -> io::Result<impl io::Read> {
    File::open(path)
}

/// A file that does not block, read as one that does, but for a while only.
#[cfg(unix)]
struct Patient {
    file: File,
    /// A pipe that perhaps nobody has opened to write yet: that it is at its end says nothing.
    unheard: bool,
}

#[cfg(unix)]
impl io::Read for Patient {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        use nix::poll::{PollFd, PollFlags, poll};
        use std::os::fd::AsFd as _;
        loop {
            match self.file.read(into) {
                Ok(0) if self.unheard => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => {
                    self.unheard = false;
                    return read;
                }
            }
            let mut waiting = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            if poll(&mut waiting, PATIENCE_MS)? == 0 {
                return Err(unheard());
            }
            self.unheard = false;
        }
    }
}
