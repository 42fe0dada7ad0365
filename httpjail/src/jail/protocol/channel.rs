//! The channel between two processes of a jail: small typed messages over a `SOCK_SEQPACKET` socket pair.
//!
//! Neither end is ever open in the jailed command. When a process dies, the other end of its channels reads
//! end-of-file, and takes that as the command to stop.

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

/// How long the supervisor waits for room in a channel. A process that reads nothing for so long is stuck or stopped.
const SEND_LIMIT: TimeVal = TimeVal::new(10, 0);

/// One end of a channel: sends `Out`, receives `In`.
#[derive(Debug)]
pub(crate) struct IpcChannel<Out, In> {
    socket: OwnedFd,
    words: PhantomData<fn(Out) -> In>,
}

/// Makes both ends of a channel, closed on exec. The first is the supervisor's: it waits for room with a limit, because a
/// peer that reads nothing would hold it past every deadline.
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

/// Makes an end of a socket that is connected already, with the same limit.
///
/// # Errors
/// Those of `setsockopt(2)`.
pub(crate) fn over<Out, In>(socket: OwnedFd) -> io::Result<IpcChannel<Out, In>> {
    setsockopt(&socket, sockopt::SendTimeout, &SEND_LIMIT)?;
    Ok(IpcChannel {
        socket,
        words: PhantomData,
    })
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
    /// `UnexpectedEof` when the peer is gone, `InvalidData` for bytes that are not a message.
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
            // The peer ended with a message unread. The kernel reports that once, and before the peer's last message
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

    /// Waits for one message, with a limit.
    ///
    /// # Errors
    /// As [`IpcChannel::receive`], and `TimedOut`.
    pub(crate) fn receive_within(&self, limit: Duration) -> io::Result<In> {
        Ok(self.receive_with_within(limit)?.0)
    }

    /// Waits for one message and the descriptors that come with it, with a limit.
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

/// Waits until `fd` can be read (or has ended). Returns false when the time is up.
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
    /// The same end once more.
    ///
    /// # Errors
    /// Those of `fcntl(2)`.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(IpcChannel {
            socket: self.socket.try_clone()?,
            words: PhantomData,
        })
    }

    /// The same end, with a descriptor above `number`.
    ///
    /// # Errors
    /// Those of `fcntl(2)`.
    pub(crate) fn above(self, number: RawFd) -> io::Result<Self> {
        match self.socket.as_raw_fd() > number {
            true => Ok(self),
            false => Ok(IpcChannel {
                socket: fds::above(self.socket, number)?,
                words: PhantomData,
            }),
        }
    }

    /// Shuts the channel down at both ends. The peer reads end-of-file, which it takes as the command to stop.
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
