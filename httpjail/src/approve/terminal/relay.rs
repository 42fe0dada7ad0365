//! Moves bytes between the caller's terminal (outer) and the jail's (inner), and switches the modes of the outer one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::Winsize;
use nix::unistd::{getpgrp, tcgetpgrp};

use super::keys::Keys;
use super::screen::Screen;
use crate::sys::terminal::{Modes, set_size, size};

/// Bytes that wait for either side; no more are read.
const BUFFER_MAX: usize = 64 * 1024;

/// How long the last output may take.
const LAST: Duration = Duration::from_secs(3);

/// How long a program may take to draw its screen once in the smaller size, before it gets its size back.
const REDRAW: Duration = Duration::from_millis(100);
const REDRAW_MOST: Duration = Duration::from_secs(1);

/// The two ends, and what is on its way between them.
pub(crate) struct Relay {
    outer: File,
    inner: Option<File>,
    screen: Screen,
    pub(super) keys: Keys,
    to_outer: Vec<u8>,
    to_inner: Vec<u8>,
    /// The caller's terminal's own modes, while this process holds the terminal with other ones.
    modes: Option<Modes>,
    /// A question is on the screen.
    taken: bool,
    /// The caller has hung up.
    hung_up: bool,
    /// When a program that was made smaller gets its size back, and when at the latest.
    grow: Option<(Instant, Instant)>,
}

impl Relay {
    pub(crate) fn new(outer: File) -> io::Result<Relay> {
        unblock(outer.as_fd())?;
        Ok(Relay {
            outer,
            inner: None,
            screen: Screen::new(),
            keys: Keys::default(),
            to_outer: Vec::new(),
            to_inner: Vec::new(),
            modes: None,
            taken: false,
            hung_up: false,
            grow: None,
        })
    }

    /// Takes the jail's terminal, gives it the modes and the size of the caller's, and starts to relay.
    pub(crate) fn start(&mut self, inner: OwnedFd) -> io::Result<()> {
        unblock(inner.as_fd())?;
        Modes::of(self.outer.as_fd())?.set(inner.as_fd())?;
        self.inner = Some(inner.into());
        self.enter()
    }

    /// Takes the caller's terminal, if this job is in its foreground.
    pub(crate) fn enter(&mut self) -> io::Result<()> {
        if self.modes.is_none() && !self.hung_up && self.is_foreground() {
            let modes = Modes::of(self.outer.as_fd())?;
            modes.raw().set(self.outer.as_fd())?;
            self.modes = Some(modes);
        }
        self.resize();
        Ok(())
    }

    /// Restores the caller's terminal. Output continues.
    pub(crate) fn leave(&mut self) {
        self.flush_for(LAST);
        // If the supervisor was killed, a shell may have taken the terminal and set its own modes.
        if let Some(modes) = self.modes.take().filter(|_| self.is_foreground()) {
            // It fails only if the terminal no longer exists.
            let _ = modes.set(self.outer.as_fd());
        }
    }

    /// Shows the rest of the jail's output.
    pub(crate) fn drain(&mut self) {
        let deadline = Instant::now() + LAST;
        while self.inner.is_some() && Instant::now() < deadline {
            self.inner(false);
            self.flush();
            let Some(inner) = &self.inner else { break };
            let mut polled = [PollFd::new(inner.as_fd(), PollFlags::POLLIN)];
            // The result does not matter: the next turn reads what is there.
            let _ = poll(&mut polled, PollTimeout::from(20u8));
        }
        let mut rest = Vec::new();
        self.screen.rest(&mut rest);
        self.to_outer.append(&mut rest);
    }

    /// Returns rows and columns for a prompt, if this process holds the screen.
    pub(super) fn screen_size(&self) -> Option<(usize, usize)> {
        self.modes.as_ref()?;
        let size = self.size();
        Some((size.ws_row.into(), size.ws_col.into()))
    }

    /// Takes the screen for a prompt. What was typed before goes to the jail.
    pub(super) fn take_screen(&mut self) {
        if std::mem::replace(&mut self.taken, true) {
            return;
        }
        if let Ok(typed) = self.read_outer() {
            for byte in &typed {
                self.keys.take(*byte);
            }
            self.to_inner.extend(typed);
        }
        self.grow = None;
        self.screen.take_over(&mut self.to_outer);
        if self.screen.is_other() {
            let own = self.size();
            self.set_inner_size(Winsize {
                ws_row: (own.ws_row - 1).max(1),
                ..own
            });
        }
    }

    /// Gives the screen back to the jail.
    pub(super) fn give_screen(&mut self) {
        if !std::mem::take(&mut self.taken) {
            return;
        }
        self.screen.give_back(&mut self.to_outer);
        if self.screen.is_other() {
            let now = Instant::now();
            self.grow = Some((now + REDRAW, now + REDRAW_MOST));
        }
    }

    /// Passes on the size of the caller's terminal, which may have changed.
    pub(crate) fn resize(&mut self) {
        if self.grow.is_none() {
            self.set_inner_size(self.size());
        }
    }

    pub(super) fn advance(&mut self, now: Instant, asking: bool) {
        if !asking && self.grow.is_some_and(|(soon, late)| soon <= now || late <= now) {
            self.grow = None;
            self.set_inner_size(self.size());
        }
        self.flush();
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.grow.map(|(soon, late)| soon.min(late))
    }

    pub(super) fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.to_outer
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.to_outer.is_empty()
    }

    pub(crate) fn outer_wants(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let mut wanted = PollFlags::empty();
        wanted.set(
            PollFlags::POLLIN,
            self.modes.is_some() && self.to_inner.len() < BUFFER_MAX,
        );
        wanted.set(PollFlags::POLLOUT, !self.to_outer.is_empty());
        (!self.hung_up && !wanted.is_empty()).then(|| (self.outer.as_fd(), wanted))
    }

    pub(crate) fn inner_wants(&self, asking: bool) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::POLLIN, !asking && self.to_outer.len() < BUFFER_MAX);
        wanted.set(PollFlags::POLLOUT, !self.to_inner.is_empty());
        let inner = self.inner.as_ref().filter(|_| !wanted.is_empty())?;
        Some((inner.as_fd(), wanted))
    }

    /// Reads from and writes to the jail's terminal; does not read while a question is on the screen.
    pub(crate) fn inner(&mut self, asking: bool) {
        let Some(inner) = &mut self.inner else { return };
        if !self.to_inner.is_empty() {
            match inner.write(&self.to_inner) {
                Ok(count) => drop(self.to_inner.drain(..count)),
                Err(error) if is_passing(&error) => {}
                // The jail has ended, so there is no reader.
                Err(_) => self.to_inner.clear(),
            }
        }
        if asking || self.to_outer.len() >= BUFFER_MAX {
            return;
        }
        let mut bytes = [0; 16 * 1024];
        match inner.read(&mut bytes) {
            Ok(count @ 1..) => {
                self.screen.pass(&bytes[..count], &mut self.to_outer);
                if let Some((soon, _)) = &mut self.grow {
                    *soon = Instant::now() + REDRAW;
                }
            }
            Err(error) if is_passing(&error) => {}
            // The jail has ended: the other end is closed (EIO).
            Ok(0) | Err(_) => self.inner = None,
        }
        self.flush();
    }

    /// Reads from and writes to the caller's terminal. While a question is on the screen, returns each byte that came: as a
    /// key, or as `None` if it is part of a sequence.
    pub(crate) fn outer(&mut self, asking: bool) -> io::Result<Vec<Option<u8>>> {
        self.flush();
        if self.modes.is_none() {
            return Ok(Vec::new());
        }
        let typed = self.read_outer()?;
        let keys: Vec<Option<u8>> = typed.iter().map(|byte| self.keys.take(*byte)).collect();
        if asking {
            return Ok(keys);
        }
        self.to_inner.extend(typed);
        self.inner(false);
        Ok(Vec::new())
    }

    fn read_outer(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 4096];
        let count = match self.outer.read(&mut bytes) {
            Ok(0) => {
                self.hung_up = true;
                0
            }
            Ok(count) => count,
            Err(error) if is_passing(&error) => 0,
            // A background process cannot read (POSIX.1-2024, 11.1.4); otherwise the caller has hung up.
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => {
                self.hung_up = self.is_foreground();
                self.modes = None;
                0
            }
            Err(error) => return Err(error),
        };
        bytes.truncate(count);
        Ok(bytes)
    }

    fn flush(&mut self) {
        while !self.to_outer.is_empty() {
            match self.outer.write(&self.to_outer) {
                Ok(count @ 1..) => drop(self.to_outer.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The caller has hung up.
                Ok(0) | Err(_) => {
                    self.hung_up = true;
                    self.to_outer.clear();
                }
            }
        }
    }

    fn flush_for(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        self.flush();
        while !self.to_outer.is_empty() && Instant::now() < deadline {
            let mut polled = [PollFd::new(self.outer.as_fd(), PollFlags::POLLOUT)];
            let _ = poll(&mut polled, PollTimeout::from(100u8));
            self.flush();
        }
    }

    fn is_foreground(&self) -> bool {
        tcgetpgrp(&self.outer).is_ok_and(|group| group == getpgrp())
    }

    /// Returns the size of the caller's terminal, or 24 by 80 if it has none.
    fn size(&self) -> Winsize {
        let none = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let own = size(self.outer.as_fd()).ok();
        own.filter(|size| size.ws_row > 0 && size.ws_col > 0).unwrap_or(none)
    }

    fn set_inner_size(&self, size: Winsize) {
        if let Some(inner) = &self.inner {
            // It fails only if the jail has ended.
            let _ = set_size(inner.as_fd(), size);
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn unblock(file: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
    fcntl(file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
