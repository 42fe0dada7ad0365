//! The line between the supervisor and its two children (the jail's init, the proxy): small typed messages over a
//! `SOCK_SEQPACKET` pair.
//!
//! Neither end is ever open in the jailed command. When a peer dies the other reads the end of the line, which each of
//! them treats as an order to stop.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, setsockopt, shutdown, socketpair, sockopt};
use nix::sys::time::TimeVal;
use serde::{Serialize, de::DeserializeOwned};

use crate::sys::fds;

/// Room for the longest message (an error text with a few paths).
const MESSAGE_BYTES: usize = 64 * 1024;

/// How long the supervisor waits for room on a line. Who reads nothing that long is stuck or stopped.
const SEND_LIMIT: TimeVal = TimeVal::new(10, 0);

/// One end of a line: sends `Out`, receives `In`.
#[derive(Debug)]
pub(crate) struct IpcChannel<Out, In> {
    socket: OwnedFd,
    words: PhantomData<fn(Out) -> In>,
}

/// Makes both ends of a line, closed on exec. The first is the supervisor's: it waits for room, but not for ever, or a peer
/// that reads nothing would hold it past every deadline.
///
/// # Errors
/// Those of `socketpair(2)`.
pub(crate) fn pair<A, B>() -> io::Result<(IpcChannel<A, B>, IpcChannel<B, A>)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    setsockopt(&ours, sockopt::SendTimeout, &SEND_LIMIT)?;
    Ok((
        IpcChannel {
            socket: ours,
            words: PhantomData,
        },
        IpcChannel {
            socket: theirs,
            words: PhantomData,
        },
    ))
}

impl<Out: Serialize, In: DeserializeOwned> IpcChannel<Out, In> {
    /// Sends one message.
    ///
    /// # Errors
    /// Those of `sendmsg(2)`; `BrokenPipe` when the peer is gone.
    pub(crate) fn send(&self, message: &Out) -> io::Result<()> {
        self.send_with(message, &[])
    }

    /// Sends one message and descriptors with it.
    ///
    /// # Errors
    /// As [`IpcChannel::send`].
    pub(crate) fn send_with(&self, message: &Out, descriptors: &[RawFd]) -> io::Result<()> {
        fds::send_with(self.as_fd(), &serde_json::to_vec(message)?, descriptors)
    }

    /// Waits for one message.
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer is gone, `InvalidData` for what is no message.
    pub(crate) fn receive(&self) -> io::Result<In> {
        Ok(self.receive_with()?.0)
    }

    /// Waits for one message and the descriptors that come with it.
    ///
    /// # Errors
    /// As [`IpcChannel::receive`].
    pub(crate) fn receive_with(&self) -> io::Result<(In, Vec<OwnedFd>)> {
        let mut bytes = vec![0; MESSAGE_BYTES];
        let (length, descriptors) = match fds::receive_with(self.as_fd(), &mut bytes) {
            // A peer that ended with a message unread. The kernel tells that once, and before what the peer said last
            // (net/unix/af_unix.c, `unix_release_sock`).
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                fds::receive_with(self.as_fd(), &mut bytes)?
            }
            received => received?,
        };
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((serde_json::from_slice(&bytes[..length])?, descriptors))
    }

    /// Waits for one message, but not for ever.
    ///
    /// # Errors
    /// As [`IpcChannel::receive`], and `TimedOut`.
    pub(crate) fn receive_within(&self, limit: Duration) -> io::Result<In> {
        Ok(self.receive_with_within(limit)?.0)
    }

    /// Waits for one message and the descriptors that come with it, but not for ever.
    ///
    /// # Errors
    /// As [`IpcChannel::receive_within`].
    pub(crate) fn receive_with_within(&self, limit: Duration) -> io::Result<(In, Vec<OwnedFd>)> {
        if !wait_readable(self.as_fd(), limit)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.receive_with()
    }
}

/// Waits until `fd` can be read (or has ended); false when the time is up.
///
/// # Errors
/// Those of `poll(2)`.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    let mut polled = [PollFd::new(fd, PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut polled, limit) {
            Err(Errno::EINTR) => {}
            ready => return Ok(ready? > 0),
        }
    }
}

impl<Out, In> IpcChannel<Out, In> {
    /// Ends the line at both ends: the peer, which takes that for an order to stop, reads its end.
    pub(crate) fn close(&self) {
        // It may have been closed before.
        let _ = shutdown(self.as_raw_fd(), Shutdown::Both);
    }
}

impl<Out, In> AsFd for IpcChannel<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<Out, In> AsRawFd for IpcChannel<Out, In> {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_who_listened_no_more_is_heard() {
        let (ours, theirs) = pair::<u8, String>().unwrap();
        ours.send(&1).unwrap();
        theirs.send(&"it failed".to_owned()).unwrap();
        drop(theirs);
        assert_eq!(ours.receive().unwrap(), "it failed");
        assert_eq!(ours.receive().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
