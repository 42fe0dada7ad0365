//! The controlling terminal: its foreground group, modes and size.
//!
//! The command has a process group of its own, so it must be made the terminal's foreground group to read from it and
//! to get Ctrl-C and Ctrl-Z. It stays in the caller's session: `setsid` would cost it job control.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
#[cfg(target_os = "linux")]
use std::os::fd::{FromRawFd, OwnedFd};

use nix::libc;
use nix::pty::Winsize;
use nix::sys::signal::Signal;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

/// The signals of a terminal and of `kill` that httpjail forwards to the command's process group.
pub(crate) const FORWARDED_SIGNALS: [Signal; 8] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGTSTP,
    Signal::SIGWINCH,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// The controlling terminal of this session.
#[derive(Debug)]
pub(crate) struct Terminal(File);

/// How a terminal takes what is typed and shows what is written.
#[derive(Debug, Clone)]
pub(crate) struct Modes(Termios);

/// Undoes what a program may have left on a screen, without wiping it: the other screen, colors, the mouse, pastes in
/// brackets, a hidden cursor (xterm's control sequences, "DEC Private Mode Set").
const ORDER: &[u8] =
    b"\x18\x1b\\\x1b[?1049l\x1b[0m\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1006l\x1b[?2004l\x1b[?25h";

impl Terminal {
    /// The session's terminal, if it has one.
    pub(crate) fn open() -> Option<Self> {
        File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .ok()
            .map(Terminal)
    }

    /// Whether the caller's own process group is in the foreground.
    pub(crate) fn is_ours(&self) -> bool {
        tcgetpgrp(&self.0).is_ok_and(|group| group == getpgrp())
    }

    /// Makes `group` the foreground process group. SIGTTOU must be blocked if the caller is in the background.
    ///
    /// # Errors
    /// Those of `tcsetpgrp(3)`.
    pub(crate) fn give_to(&self, group: Pid) -> io::Result<()> {
        Ok(tcsetpgrp(&self.0, group)?)
    }

    /// Its modes as they are.
    ///
    /// # Errors
    /// Those of `tcgetattr(3)`.
    pub(crate) fn modes(&self) -> io::Result<Modes> {
        Modes::of(self.0.as_fd())
    }

    /// Gives it these modes back, and its screen to those who write line by line.
    ///
    /// # Errors
    /// Those of `tcsetattr(3)` and `write(2)`.
    pub(crate) fn reset(&self, modes: &Modes) -> io::Result<()> {
        modes.set(self.0.as_fd())?;
        (&self.0).write_all(ORDER)
    }

    /// The open file.
    pub(crate) fn into_file(self) -> File {
        self.0
    }
}

impl Modes {
    /// Those of a terminal (of the inner end, for the outer end of a pair).
    ///
    /// # Errors
    /// Those of `tcgetattr(3)`.
    pub(crate) fn of(terminal: BorrowedFd<'_>) -> io::Result<Modes> {
        Ok(Modes(tcgetattr(terminal)?))
    }

    /// Sets them. SIGTTOU must be blocked if the caller is in the background.
    ///
    /// # Errors
    /// Those of `tcsetattr(3)`.
    pub(crate) fn set(&self, terminal: BorrowedFd<'_>) -> io::Result<()> {
        Ok(tcsetattr(terminal, SetArg::TCSADRAIN, &self.0)?)
    }

    /// The same, but byte by byte, unechoed and unchanged.
    pub(crate) fn raw(&self) -> Modes {
        let mut modes = self.0.clone();
        cfmakeraw(&mut modes);
        Modes(modes)
    }
}

/// A terminal's rows and columns.
///
/// # Errors
/// Those of `ioctl(TIOCGWINSZ)` (ioctl_tty(2)).
pub(crate) fn size(terminal: BorrowedFd<'_>) -> io::Result<Winsize> {
    let mut size = Winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the call writes one `struct winsize` through a pointer to one that lives here.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(size)
}

/// Sets them; the terminal's foreground group gets SIGWINCH if they change.
///
/// # Errors
/// Those of `ioctl(TIOCSWINSZ)` (ioctl_tty(2)).
pub(crate) fn set_size(terminal: BorrowedFd<'_>, size: Winsize) -> io::Result<()> {
    // SAFETY: the call reads one `struct winsize` through a pointer to one that lives here.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes it the controlling terminal of this process's session, whose leader this process is and which has none.
///
/// # Errors
/// Those of `ioctl(TIOCSCTTY)` (ioctl_tty(2)).
pub(crate) fn make_controlling(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the call takes an integer: 0, which steals from nobody.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY as _, 0) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// `TIOCGPTPEER` (`include/uapi/asm-generic/ioctls.h`, Linux 4.13).
#[cfg(target_os = "linux")]
const TIOCGPTPEER: libc::Ioctl = 0x5441;

/// Opens the inner end of the terminal whose outer end this is, wherever its name is.
///
/// # Errors
/// Those of `ioctl(TIOCGPTPEER)` (ioctl_tty(2)).
#[cfg(target_os = "linux")]
pub(crate) fn inner_end(outer: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the call takes an integer, the flags of open(2).
    let fd = unsafe { libc::ioctl(outer.as_raw_fd(), TIOCGPTPEER, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
