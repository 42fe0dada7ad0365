//! Makes sockets of another network for the proxy's process: those that reach listeners in the jail (`--publish`), and those by
//! which the proxy reaches servers from the network of a container (`attach`).
//!
//! A socket stays in the network namespace in which it was created. So a process of its own enters that namespace once, and
//! creates a socket there whenever the proxy's process asks for one. It reads nothing but these requests, which name one of the
//! kinds of its [`Duty`] and nothing else. The cgroup programs do not see what such a socket sends, because it belongs to the
//! cgroup of the process that made it.

use crate::sync::lock;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Mutex;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;
use socket2::{Domain, Protocol, Socket, Type};

use crate::jail::protocol::channel::{self, IpcChannel};
use crate::jail::protocol::sockets::SocketReply;
use crate::jail::sandbox::network::{FramePass, PUBLISH_MARK};
use crate::jail::sandbox::rights;
use crate::jail::termination;
use crate::net::{SocketKind, SocketSource};
use crate::sys::clone::{self, Side};
use crate::sys::fds;

/// How long a socket may take. Generous: a loaded machine must not lose connections.
const LIMIT: Duration = Duration::from_secs(5);

/// What the sockets are for. It says which kinds are made, and what the process may.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Duty {
    /// To reach what the jail listens on: TCP, with the mark by which the programs and rules know these sockets
    /// (`JailConfig::publish_mark`). The process keeps the capability to mark.
    Publish,
    /// To reach servers and name servers, and to ask which addresses are the network's own. Where the devices of the network
    /// are closed, these sockets pass, and the process keeps the capability to mark; otherwise it keeps none.
    Upstream(Option<FramePass>),
}

/// The proxy's end: asks for sockets. Once an answer is missing it asks no more, for that answer would be taken for the next
/// one's.
#[derive(Debug)]
pub(crate) struct SocketClient(Mutex<IpcChannel<SocketKind, SocketReply>>);

/// The maker's end, which the supervisor holds until there is a network to enter.
#[derive(Debug)]
pub(crate) struct SocketServer(IpcChannel<SocketReply, SocketKind>);

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
    /// The descriptor that the proxy's process must keep.
    pub(crate) fn descriptor(&self) -> RawFd {
        lock(&self.0).as_raw_fd()
    }
}

impl SocketSource for SocketClient {
    fn socket(&self, kind: SocketKind) -> io::Result<Socket> {
        let channel = lock(&self.0);
        let asked = channel.send(&kind).and_then(|()| channel.receive_with_within(LIMIT));
        let (SocketReply(made), mut sockets) = asked.inspect_err(|error| {
            // Where no descriptor is free, the answer came all the same and cannot be taken.
            if error.kind() != io::ErrorKind::InvalidData {
                channel.close();
            }
        })?;
        made.map_err(io::Error::other)?;
        let socket = sockets.pop().ok_or_else(|| io::Error::other("no socket came"))?;
        Ok(socket.into())
    }
}

impl SocketServer {
    /// Forks the process into these namespaces, entered in this order. Who made a user namespace may enter it and has every
    /// right in it, and so in the network that it owns (user_namespaces(7)): for a jail of one's own this needs no root.
    ///
    /// # Errors
    /// Those of the fork.
    pub(crate) fn open(self, duty: Duty, namespaces: Vec<OwnedFd>) -> io::Result<SocketMaker> {
        match clone::fork()? {
            Side::Parent(pid) => Ok(SocketMaker {
                pid,
                ended: clone::pidfd(pid)?,
            }),
            // The proxy's end sees end-of-file, whatever the reason.
            Side::Child => clone::live(|| self.serve(duty, namespaces).map_or(125, |()| 0)),
        }
    }

    fn serve(&self, duty: Duty, namespaces: Vec<OwnedFd>) -> io::Result<()> {
        for namespace in namespaces {
            // Without a flag, setns(2) takes a namespace of any kind.
            setns(namespace, CloneFlags::empty())?;
        }
        // After the change of rights, which clears the first (kernel/cred.c, commit_creds). Whose parent has died before has
        // lost the far end of its line as well.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        prctl::set_dumpable(false)?;
        fds::close_from(0, &[self.0.as_raw_fd()])?;
        match duty {
            Duty::Publish | Duty::Upstream(Some(_)) => rights::keep_only_marks()?,
            Duty::Upstream(None) => rights::keep_nothing()?,
        }
        loop {
            match duty.make(self.0.receive()?) {
                Ok(socket) => self
                    .0
                    .send_with(&SocketReply(Ok(())), &[OwnedFd::from(socket).as_raw_fd()])?,
                Err(error) => self.0.send(&SocketReply(Err(error.to_string())))?,
            }
        }
    }
}

impl Duty {
    fn make(self, kind: SocketKind) -> io::Result<Socket> {
        let family = |ipv6| if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = match (self, kind) {
            (_, SocketKind::Tcp { ipv6 }) => Socket::new(family(ipv6), Type::STREAM, Some(Protocol::TCP))?,
            (Duty::Upstream(_), SocketKind::Udp { ipv6 }) => {
                Socket::new(family(ipv6), Type::DGRAM, Some(Protocol::UDP))?
            }
            // The kernel lets the proxy's process ask and change nothing: who sends needs the capability as well as who opened
            // it (net/netlink/af_netlink.c, `__netlink_ns_capable`).
            (Duty::Upstream(_), SocketKind::Routes) => Socket::new(
                Domain::from(libc::AF_NETLINK),
                Type::RAW,
                Some(Protocol::from(libc::NETLINK_ROUTE)),
            )?,
            (Duty::Publish, SocketKind::Udp { .. } | SocketKind::Routes) => {
                return Err(io::ErrorKind::Unsupported.into());
            }
        };
        match self {
            Duty::Publish => socket.set_mark(PUBLISH_MARK)?,
            Duty::Upstream(Some(pass)) if kind != SocketKind::Routes => {
                socket.set_mark(pass.mark)?;
                setsockopt(&socket, sockopt::Priority, &pass.priority.cast_signed())?;
            }
            Duty::Upstream(_) => {}
        }
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

impl SocketMaker {
    /// Its pidfd: readable when it has ended.
    pub(crate) fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}

impl Drop for SocketMaker {
    fn drop(&mut self) {
        if let Err(error) = termination::kill_and_reap("the maker of sockets", self.pid, self.ended.as_fd()) {
            tracing::warn!("{error}");
        }
    }
}
