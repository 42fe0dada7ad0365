//! Makes one system call of the jail in place of its caller.
//!
//! The caller is never told to continue its own call: between the check and the call another of its threads could
//! change the address, or put another socket under the descriptor. So the handler copies all that it decides by, and
//! calls on the copy. It does so for TCP too, where nothing is to be decided: only a look at the socket tells whether
//! it is one of TCP.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::{self, AF_NETLINK, AF_UNIX, AF_UNSPEC};
use nix::sys::stat::fstat;
use nix::unistd::Pid;

use super::caller::{self, Caller};
use super::datagrams;
use super::shared::{Answer, Shared, errno, errno_of, socket_of_ours};
use super::unreported::Unreported;
use crate::sys::notification::{Call, RESTART};
use crate::sys::socket as raw;
use crate::sys::thread::{self, Alarm};

/// `sizeof(struct sockaddr_storage)`: the kernel takes no longer address.
const ADDRESS_MAX: usize = 128;
/// `sizeof(struct sockaddr_un)`.
const UNIX_MAX: usize = 110;
/// How often a call that waits looks whether it still should.
const LOOK: Duration = Duration::from_millis(100);

/// One thread that makes calls.
#[derive(Debug)]
pub(super) struct Handler<'a> {
    shared: &'a Shared,
    alarm: Alarm,
    /// Whether the alarm runs: it does until the next call, which begins at once where connections follow each other.
    armed: bool,
    /// The thread that called before, and the handle of that very thread.
    last: Option<(Pid, OwnedFd)>,
    /// Whose ids the thread has.
    ids: Option<(u32, u32, Vec<u32>)>,
}

impl<'a> Handler<'a> {
    /// Makes this thread one: it keeps its capabilities, but for those that it takes up as needed.
    ///
    /// # Errors
    /// Naming no step: those of `unshare(2)`, `fchdir(2)`, `timer_create(2)` and `capset(2)`.
    pub(super) fn new(shared: &'a Shared) -> io::Result<Self> {
        thread::own_directories()?;
        shared.proc.enter()?;
        for capability in [Capability::CAP_NET_ADMIN, Capability::CAP_DAC_OVERRIDE] {
            caps::drop(None, CapSet::Effective, capability).map_err(io::Error::other)?;
        }
        Ok(Handler {
            shared,
            alarm: Alarm::new()?,
            armed: false,
            last: None,
            ids: None,
        })
    }

    /// Makes the call and answers. Where it `may_wait` not, what would wait fails with EAGAIN.
    pub(super) fn serve(&mut self, call: &Call, may_wait: bool) {
        if call.number != libc::SYS_connect {
            self.rest();
        }
        let shared = self.shared;
        let answer = match call.number {
            libc::SYS_connect => {
                return self.with_socket(call, |handler, call, handle, socket| {
                    handler.connect(call, handle, socket, may_wait)
                });
            }
            libc::SYS_listen => return self.with_socket(call, Self::listen),
            libc::SYS_socket => datagrams::one(shared, call),
            libc::SYS_socketpair => caller::handle(call.thread, &shared.proc)
                .map_err(errno)
                .and_then(|(handle, _)| self.act_for(call, handle.as_fd()))
                .and_then(|(caller, _)| datagrams::pair(shared, call, &caller)),
            _ => Err(Errno::ENOSYS),
        };
        self.answer(call, answer);
    }

    /// No call is made: nothing is to be interrupted.
    pub(super) fn rest(&mut self) {
        if std::mem::take(&mut self.armed) {
            // Where it cannot be set, it interrupts what is called again.
            let _ = self.alarm.every(Duration::ZERO);
        }
    }

    /// Answers. Returns false where nobody waits for it.
    fn answer(&self, call: &Call, answer: Answer) -> bool {
        let answered = self.shared.listener.answer(call, answer.map_err(|error| error as i32));
        // The caller is gone, or was interrupted and told so: then nobody waits. If it waits, it would do so forever.
        let over = |error: &io::Error| [Some(Errno::ENOENT), Some(Errno::EINPROGRESS)].contains(&errno_of(error));
        assert!(
            answered.as_ref().err().is_none_or(over),
            "a system call stays without an answer"
        );
        answered.is_ok()
    }

    /// Acts on a copy of the caller's socket, and answers.
    fn with_socket(&mut self, call: &Call, act: impl FnOnce(&mut Self, &Call, BorrowedFd<'_>, &OwnedFd) -> Answer) {
        let (handle, socket, exact) = match self.socket_of(call) {
            Ok(found) => found,
            Err(error) => {
                self.answer(call, Err(error));
                return;
            }
        };
        let done = act(self, call, handle.as_fd(), &socket);
        let connected = (done.is_ok() && call.number == libc::SYS_connect).then(|| Unreported::key(&socket));
        // Before the caller goes on: what it closes then has to be closed.
        drop(socket);
        if !self.answer(call, done)
            && let Some(key) = connected.flatten()
        {
            self.shared.unreported.put(key);
        }
        if exact {
            self.last = Some((call.thread, handle));
        }
    }

    /// The handle of the caller, a copy of the socket that it means, and whether the handle is of that very thread.
    ///
    /// Such a handle serves again: as long as its thread lives nobody else has its number, and of one that has ended nothing can
    /// be taken.
    fn socket_of(&mut self, call: &Call) -> Result<(OwnedFd, OwnedFd, bool), Errno> {
        let number = call.arguments[0] as i32;
        if let Some((_, handle)) = self.last.take_if(|(thread, _)| *thread == call.thread)
            && let Ok(socket) = raw::take(handle.as_fd(), number)
        {
            return Ok((handle, socket, true));
        }
        let (handle, exact) = caller::handle(call.thread, &self.shared.proc).map_err(errno)?;
        let socket = raw::take(handle.as_fd(), number).map_err(errno)?;
        Ok((handle, socket, exact))
    }

    fn connect(&mut self, call: &Call, handle: BorrowedFd<'_>, socket: &OwnedFd, may_wait: bool) -> Answer {
        let domain = raw::domain(socket.as_fd()).map_err(errno)?;
        let mut room = [0; ADDRESS_MAX];
        let length = usize::try_from(call.arguments[2] as i32).map_err(|_| Errno::EINVAL)?;
        let address = room.get_mut(..length).ok_or(Errno::EINVAL)?;
        caller::read(call.thread, call.arguments[1], address)?;
        self.still_waits(call)?;
        match domain {
            AF_UNIX => {
                // To look a path up is not to be interrupted.
                self.rest();
                self.connect_unix(call, handle, socket, address, may_wait)
            }
            // Groups, and others than the kernel, are root's to speak to; the caller is none in this network.
            AF_NETLINK if address.iter().skip(4).take(8).any(|byte| *byte != 0) => Err(Errno::EPERM),
            _ => self.finish(call, handle, socket, address, may_wait),
        }
    }

    /// Connects to a listener of the jail's own, or to one that is allowed, by a name of the caller's.
    fn connect_unix(
        &mut self,
        call: &Call,
        handle: BorrowedFd<'_>,
        socket: &OwnedFd,
        address: &[u8],
        may_wait: bool,
    ) -> Answer {
        let family = address
            .first_chunk()
            .map(|family| i32::from(u16::from_ne_bytes(*family)));
        let name = address.get(2..).unwrap_or_default();
        if family == Some(AF_UNSPEC) {
            return self.finish(call, handle, socket, address, may_wait);
        }
        if family != Some(AF_UNIX) || name.is_empty() || address.len() > UNIX_MAX {
            return Err(Errno::EINVAL);
        }
        let (caller, overrides) = self.act_for(call, handle)?;
        if name.starts_with(&[0]) {
            // A name of the network that the socket is of. One made outside would reach outside.
            return match self.is_inside(socket)? {
                true => self.finish(call, handle, socket, address, may_wait),
                false => Err(Errno::ECONNREFUSED),
            };
        }
        let path = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let with = |handler: &mut Self| {
            let file = caller.look_up(path).map_err(errno)?;
            handler.still_waits(call)?;
            let known = handler.shared.registry.find(&file).map_err(errno)?;
            let listener = known.ok_or(Errno::ECONNREFUSED)?;
            let address = handler.shared.proc.address_of(&listener);
            handler.finish(call, handle, socket, &address, may_wait)
        };
        match overrides {
            true => self.with_capability(Capability::CAP_DAC_OVERRIDE, with),
            false => with(self),
        }
    }

    /// Connects, waiting as the caller would: as long as nothing interrupts him, and no longer than his socket's limit.
    fn finish(
        &mut self,
        call: &Call,
        handle: BorrowedFd<'_>,
        socket: &OwnedFd,
        address: &[u8],
        may_wait: bool,
    ) -> Answer {
        let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
        if flags.contains(OFlag::O_NONBLOCK) {
            self.attempt(socket, address)
        } else if may_wait {
            if !self.armed {
                self.alarm.every(LOOK).map_err(errno)?;
                self.armed = true;
            }
            self.patiently(call, handle, socket, address)
        } else {
            Err(Errno::EAGAIN)
        }
    }

    fn attempt(&self, socket: &OwnedFd, address: &[u8]) -> Answer {
        match raw::connect(socket.as_fd(), address).map_err(errno) {
            Err(Errno::EISCONN) if self.shared.unreported.take(socket) => Ok(0),
            done => done.map(|()| 0),
        }
    }

    /// Connects again and again, for the alarm interrupts it.
    fn patiently(&self, call: &Call, handle: BorrowedFd<'_>, socket: &OwnedFd, address: &[u8]) -> Answer {
        let began = Instant::now();
        loop {
            match self.attempt(socket, address) {
                Err(Errno::EINTR) => {}
                done => return done,
            }
            if !self.shared.listener.waits(call) {
                return Err(Errno::ESRCH);
            }
            let caller = Caller::new(call.thread, handle, &self.shared.proc).map_err(errno)?;
            if caller.status().map_err(errno)?.interrupted() {
                // The kernel looks for the signal, and restarts the call or tells the caller that it was interrupted.
                let _ = self.shared.listener.answer(call, Err(RESTART));
                return Err(Errno::EINTR);
            }
            let limit = raw::send_limit(socket.as_fd()).map_err(errno)?;
            if limit.is_some_and(|limit| began.elapsed() >= limit) {
                let unix = raw::domain(socket.as_fd()).map_err(errno)? == AF_UNIX;
                return Err(if unix { Errno::EAGAIN } else { Errno::EINPROGRESS });
            }
        }
    }

    /// Enters the socket among those that may be reached, and has it listen.
    fn listen(&mut self, call: &Call, handle: BorrowedFd<'_>, socket: &OwnedFd) -> Answer {
        // Whoever connects is told who listened.
        self.act_for(call, handle)?;
        if raw::domain(socket.as_fd()).map_err(errno)? == AF_UNIX {
            let file = self.with_capability(Capability::CAP_NET_ADMIN, |_| Ok(raw::bound_file(socket.as_fd())))?;
            match file {
                Ok(file) if self.is_inside(socket)? => {
                    self.shared.registry.enter(file, &self.shared.proc).map_err(errno)?;
                }
                // Of another network: it was made outside.
                Ok(_) => {}
                Err(error) => match errno(error) {
                    Errno::EMFILE | Errno::ENFILE => return Err(Errno::ENOBUFS),
                    // Abstract, not bound at all, or made outside.
                    _ => {}
                },
            }
        }
        raw::listen(socket.as_fd(), call.arguments[1] as i32).map_err(errno)?;
        Ok(0)
    }

    /// Whether the socket's network namespace is the jail's, or one that was made in the jail.
    fn is_inside(&mut self, socket: &OwnedFd) -> Result<bool, Errno> {
        let theirs = self.with_capability(Capability::CAP_NET_ADMIN, |_| Ok(raw::network(socket.as_fd())))?;
        match theirs {
            // Whoever has rights over it only in his own user namespace has found one that is below.
            Ok(_) if self.shared.user_namespace => Ok(true),
            Ok(theirs) => {
                let number = |file: &OwnedFd| fstat(file).map(|found| (found.st_dev, found.st_ino));
                let own = socket_of_ours().and_then(|ours| raw::network(ours.as_fd()));
                Ok(number(&theirs)? == number(&own.map_err(errno)?)?)
            }
            Err(error) if errno_of(&error) == Some(Errno::EPERM) => Ok(false),
            Err(error) => Err(errno(error)),
        }
    }

    /// Takes the caller's ids, so that permissions and SO_PEERCRED are his. Also tells whether no permission stops him.
    fn act_for(&mut self, call: &Call, handle: BorrowedFd<'_>) -> Result<(Caller<'a>, bool), Errno> {
        let caller = Caller::new(call.thread, handle, &self.shared.proc).map_err(errno)?;
        let overrides = self.act_as(&caller)?;
        self.still_waits(call)?;
        Ok((caller, overrides))
    }

    /// What was read by the caller's number was the caller's, if it waits still: a number is given away again.
    fn still_waits(&self, call: &Call) -> Result<(), Errno> {
        self.shared.listener.waits(call).then_some(()).ok_or(Errno::ESRCH)
    }

    fn act_as(&mut self, caller: &Caller<'_>) -> Result<bool, Errno> {
        if !self.shared.users {
            return Ok(false);
        }
        let status = caller.status().map_err(errno)?;
        let overrides = caller.overrides(&status).map_err(errno)?;
        let ids = (status.uid, status.gid, status.groups);
        if self.ids.as_ref() != Some(&ids) {
            self.ids = None;
            thread::act_as(ids.0, ids.1, &ids.2).map_err(errno)?;
            self.ids = Some(ids);
        }
        Ok(overrides)
    }

    /// Takes a capability up for one act. If it cannot be put down again, this process must not go on.
    fn with_capability<T>(
        &mut self,
        capability: Capability,
        act: impl FnOnce(&mut Self) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        caps::raise(None, CapSet::Effective, capability).map_err(|_| Errno::EPERM)?;
        let done = act(self);
        assert!(
            caps::drop(None, CapSet::Effective, capability).is_ok(),
            "a capability cannot be dropped"
        );
        done
    }
}
