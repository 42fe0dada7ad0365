//! The caller's terminal and the jail's, and the bytes between them.

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

/// Bytes on their way to either side; more are not read.
const ROOM: usize = 64 * 1024;

/// How long the last output may take to show.
const LAST: Duration = Duration::from_secs(3);

/// A program that draws its screen anew when its size changes is left so long to draw it once, in the smaller size.
const REDRAW: Duration = Duration::from_millis(100);
const REDRAW_MOST: Duration = Duration::from_secs(1);

pub(super) struct Relay {
    outer: File,
    inner: Option<File>,
    screen: Screen,
    pub(super) keys: Keys,
    to_outer: Vec<u8>,
    to_inner: Vec<u8>,
    /// What the caller's terminal had, while it has other modes: it is ours then.
    modes: Option<Modes>,
    /// The screen is the prompt's.
    taken: bool,
    /// The caller has hung up.
    hung_up: bool,
    /// When a program that was made smaller gets its size back: then, or at the latest then.
    grow: Option<(Instant, Instant)>,
}

impl Relay {
    pub(super) fn new(outer: File) -> io::Result<Relay> {
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

    /// Takes the jail's terminal, gives it the modes and the size of the caller's, and begins.
    pub(super) fn start(&mut self, inner: OwnedFd) -> io::Result<()> {
        unblock(inner.as_fd())?;
        Modes::of(self.outer.as_fd())?.set(inner.as_fd())?;
        self.inner = Some(inner.into());
        self.enter()
    }

    /// Takes the caller's terminal, if this job is in its foreground.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        if self.modes.is_none() && !self.hung_up && self.is_foreground() {
            let modes = Modes::of(self.outer.as_fd())?;
            modes.raw().set(self.outer.as_fd())?;
            self.modes = Some(modes);
        }
        self.resize();
        Ok(())
    }

    /// Gives it back as it was. Output goes on.
    pub(super) fn leave(&mut self) {
        self.flush_for(LAST);
        // A shell that has taken it already (the supervisor was killed) has set what it wants.
        if let Some(modes) = self.modes.take().filter(|_| self.is_foreground()) {
            // A terminal that is gone has no modes.
            let _ = modes.set(self.outer.as_fd());
        }
    }

    /// Shows what the jail has still written, to its end.
    pub(super) fn drain(&mut self) {
        let deadline = Instant::now() + LAST;
        while self.inner.is_some() && Instant::now() < deadline {
            self.inner(false);
            self.flush();
            let Some(inner) = &self.inner else { break };
            let mut polled = [PollFd::new(inner.as_fd(), PollFlags::POLLIN)];
            // Either outcome will do: what is there is read on the next turn.
            let _ = poll(&mut polled, PollTimeout::from(20u8));
        }
        let mut rest = Vec::new();
        self.screen.rest(&mut rest);
        self.to_outer.append(&mut rest);
    }

    /// Rows and columns for a prompt, if the screen is ours to draw on.
    pub(super) fn screen_size(&self) -> Option<(usize, usize)> {
        self.modes.as_ref()?;
        let size = self.size();
        Some((size.ws_row.into(), size.ws_col.into()))
    }

    /// From here on the screen is a prompt's. What was typed before is the jail's.
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

    /// The screen is the jail's again.
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

    /// The caller's terminal may have another size.
    pub(super) fn resize(&mut self) {
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

    pub(super) fn outer_wants(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::POLLIN, self.modes.is_some() && self.to_inner.len() < ROOM);
        wanted.set(PollFlags::POLLOUT, !self.to_outer.is_empty());
        (!self.hung_up && !wanted.is_empty()).then(|| (self.outer.as_fd(), wanted))
    }

    pub(super) fn inner_wants(&self, asking: bool) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::POLLIN, !asking && self.to_outer.len() < ROOM);
        wanted.set(PollFlags::POLLOUT, !self.to_inner.is_empty());
        let inner = self.inner.as_ref().filter(|_| !wanted.is_empty())?;
        Some((inner.as_fd(), wanted))
    }

    /// Moves what can be moved from and to the jail's terminal; while a question is on the screen nothing from it.
    pub(super) fn inner(&mut self, asking: bool) {
        let Some(inner) = &mut self.inner else { return };
        if !self.to_inner.is_empty() {
            match inner.write(&self.to_inner) {
                Ok(count) => drop(self.to_inner.drain(..count)),
                Err(error) if is_passing(&error) => {}
                // Nobody is left to read it.
                Err(_) => self.to_inner.clear(),
            }
        }
        if asking || self.to_outer.len() >= ROOM {
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
            // The jail has ended: nobody has the other end open any more (EIO).
            Ok(0) | Err(_) => self.inner = None,
        }
        self.flush();
    }

    /// Moves what can be moved to and from the caller's terminal. While a question is on the screen, returns what came: each
    /// byte, as a key or (`None`) as part of something else.
    pub(super) fn outer(&mut self, asking: bool) -> io::Result<Vec<Option<u8>>> {
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
            // From the background nothing can be read (POSIX.1-2024, 11.1.4); else the caller has hung up.
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
                // Hung up: nobody sees it.
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

    /// The caller's terminal's; some have none.
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
            // It has ended: nobody is left to draw.
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
