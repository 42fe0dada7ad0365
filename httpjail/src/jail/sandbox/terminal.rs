//! A terminal of the jail's own, for `--interactive`: init leads its session, and the command is its foreground.
//!
//! Whatever the command does to its terminal (reading ahead, typing into it, changing its modes) it does to this one.
//! The outer end leaves the jail, and the process that holds it decides what the caller's terminal shows.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, fchown, setsid};

use super::stdio::is_terminal;
use super::user_identity::UserIdentity;
use crate::sys::terminal::make_controlling;

/// Both ends.
pub(crate) struct Pair {
    /// The outer one.
    pub(crate) master: OwnedFd,
    /// The inner one.
    pub(crate) slave: OwnedFd,
}

impl Pair {
    /// Makes a terminal that belongs to `owner`, leaves the caller's session for one with it, and puts it in the place of
    /// each standard descriptor that is a terminal. Whoever is forked from here on has no other.
    pub(crate) fn take_session(owner: &UserIdentity) -> io::Result<Pair> {
        let step = |what: &'static str| move |error: nix::Error| io::Error::other(format!("cannot {what}: {error}"));
        let master =
            posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).map_err(step("open /dev/ptmx"))?;
        grantpt(&master).map_err(step("prepare the terminal"))?;
        unlockpt(&master).map_err(step("unlock the terminal"))?;
        let name = ptsname_r(&master).map_err(step("name the terminal"))?;
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let slave = open(name.as_str(), flags, Mode::empty()).map_err(step("open the terminal"))?;
        if owner.switched {
            fchown(&slave, Some(owner.uid), None).map_err(step("change the owner of the terminal"))?;
        }
        fchmod(&slave, Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IWGRP)
            .map_err(step("restrict the terminal's permissions"))?;
        setsid().map_err(step("leave the session"))?;
        make_controlling(slave.as_fd())?;
        if is_terminal(io::stdin().as_fd()) {
            dup2_stdin(&slave)?;
        }
        if is_terminal(io::stdout().as_fd()) {
            dup2_stdout(&slave)?;
        }
        if is_terminal(io::stderr().as_fd()) {
            dup2_stderr(&slave)?;
        }
        Ok(Pair {
            master: master.into(),
            slave,
        })
    }
}
