//! `--publish`: makes sockets that reach listeners in the jail.
//!
//! A socket stays in the network namespace in which it was created. So a process of its own enters the jail's network
//! namespace once, and creates a socket there whenever the proxy's process asks for one. It reads nothing but these
//! requests. Of all capabilities it keeps only the one to mark its sockets; the programs recognize them by the mark
//! (`JailConfig::publish_mark`).

use crate::sync::lock;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Mutex;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use socket2::{Domain, Protocol, Socket, Type};

use crate::jail::protocol::channel::{self, IpcChannel};
use crate::jail::protocol::sockets::{SocketReply, SocketRequest};
use crate::jail::sandbox::network::PUBLISH_MARK;
use crate::jail::sandbox::rights;
use crate::jail::termination;
use crate::sys::clone::{self, Side};
use crate::sys::fds;

/// How long a socket may take. Generous: a loaded machine must not lose connections.
const LIMIT: Duration = Duration::from_secs(5);

/// The proxy's end: asks for sockets of the jail's network.
#[derive(Debug)]
pub(crate) struct SocketClient(Mutex<IpcChannel<SocketRequest, SocketReply>>);

/// The forwarder's end, which the supervisor holds until there is a jail.
#[derive(Debug)]
pub(crate) struct SocketServer(IpcChannel<SocketReply, SocketRequest>);

/// The process that makes the sockets. Dropping the handle kills it.
#[derive(Debug)]
pub(crate) struct SocketMaker {
    pid: Pid,
    ended: OwnedFd,
}

/// Makes both ends.
///
/// # Errors
/// Those of `socketpair(2)`.
pub(crate) fn pair() -> io::Result<(SocketClient, SocketServer)> {
    let (ours, theirs) = channel::pair()?;
    Ok((SocketClient(Mutex::new(ours)), SocketServer(theirs)))
}

impl SocketClient {
    /// Returns a new TCP socket in the jail's network. Blocks for one local round trip.
    ///
    /// # Errors
    /// When the port forwarder is gone or cannot make one.
    pub(crate) fn socket(&self, ipv6: bool) -> io::Result<Socket> {
        let channel = lock(&self.0);
        channel.send(&SocketRequest { ipv6 })?;
        if !channel::wait_readable(channel.as_fd(), LIMIT)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let (SocketReply(made), mut sockets) = channel.receive_with()?;
        made.map_err(io::Error::other)?;
        let socket = sockets.pop().ok_or_else(|| io::Error::other("no socket came"))?;
        Ok(socket.into())
    }

    /// The descriptor that the proxy's process must keep.
    pub(crate) fn descriptor(&self) -> RawFd {
        lock(&self.0).as_raw_fd()
    }
}

impl SocketServer {
    /// Forks the port forwarder into these namespaces of the jail, entered in this order. Who made a user namespace may enter it
    /// and has every right in it, and so in the network that it owns (user_namespaces(7)): this needs no root.
    ///
    /// # Errors
    /// Those of the fork.
    pub(crate) fn open(self, namespaces: Vec<OwnedFd>) -> io::Result<SocketMaker> {
        match clone::fork()? {
            Side::Parent(pid) => Ok(SocketMaker {
                pid,
                ended: clone::pidfd(pid)?,
            }),
            // The proxy's end sees end-of-file, whatever the reason.
            Side::Child => clone::live(|| self.serve(namespaces).map_or(125, |()| 0)),
        }
    }

    fn serve(&self, namespaces: Vec<OwnedFd>) -> io::Result<()> {
        for namespace in namespaces {
            // Without a flag, setns(2) takes a namespace of any kind.
            setns(namespace, CloneFlags::empty())?;
        }
        // After the change of rights, which clears the first (kernel/cred.c, commit_creds). Whose parent has died before has
        // lost the far end of its line as well.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        prctl::set_dumpable(false)?;
        fds::close_from(0, &[self.0.as_raw_fd()])?;
        rights::keep_only_marks()?;
        loop {
            let SocketRequest { ipv6 } = self.0.receive()?;
            match socket(ipv6) {
                Ok(socket) => self
                    .0
                    .send_with(&SocketReply(Ok(())), &[OwnedFd::from(socket).as_raw_fd()])?,
                Err(error) => self.0.send(&SocketReply(Err(error.to_string())))?,
            }
        }
    }
}

fn socket(ipv6: bool) -> io::Result<Socket> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_mark(PUBLISH_MARK)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Drop for SocketMaker {
    fn drop(&mut self) {
        if let Err(error) = termination::kill_and_reap("the port forwarder", self.pid, self.ended.as_fd()) {
            tracing::warn!("{error}");
        }
    }
}
