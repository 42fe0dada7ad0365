//! The controlling terminal: who holds it, and handing it over and back.
//!
//! The command has a process group of its own, so it must be made the terminal's foreground group to read from it and to
//! get Ctrl-C and Ctrl-Z. It shares the caller's session: `setsid` would cost it job control.

use std::fs::File;
use std::io;

use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

/// The controlling terminal of this session.
#[derive(Debug)]
pub struct Terminal(File);

impl Terminal {
    /// The session's terminal, if it has one.
    pub fn open() -> Option<Self> {
        File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .ok()
            .map(Terminal)
    }

    /// Whether the caller's own process group is in the foreground.
    pub fn is_ours(&self) -> bool {
        tcgetpgrp(&self.0).is_ok_and(|group| group == getpgrp())
    }

    /// Makes `group` the foreground process group. SIGTTOU must be blocked if the caller is in the background.
    ///
    /// # Errors
    /// Those of `tcsetpgrp(3)`.
    pub fn give_to(&self, group: Pid) -> io::Result<()> {
        Ok(tcsetpgrp(&self.0, group)?)
    }
}
