//! The network of the cgroup's processes: whether it leads out, and which name servers it has.
//!
//! The upstream leg leaves by it ([`crate::jail::process::socket_maker`]), so that what it does not let out stays in.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::Ipv6Addr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::failure::Failure;
use crate::jail::protocol::channel::wait_readable;
use crate::jail::sandbox::network::{self, FramePass};
use crate::jail::termination;
use crate::sys::clone::{self, Side};
use crate::sys::fds;

/// Three name servers and six domains have room in a small part of it. As the child sends it, it takes four times as much, which
/// is half of what a pipe holds (pipe(7)).
const LONGEST: u64 = 8 * 1024;

/// Below the root of a container.
pub(crate) const RESOLV_CONF: &str = "etc/resolv.conf";
/// How long reading it may take. The file may be in a file system that a process of the container serves.
const LIMIT: Duration = Duration::from_secs(5);

/// A network that is not httpjail's own and leads out.
pub(crate) struct OwnNetwork {
    /// Its namespace.
    pub(crate) namespace: OwnedFd,
    /// Whether an interface besides loopback has an IPv4 address.
    pub(crate) ipv4: bool,
    /// The same for IPv6, where a link-local address does not count.
    pub(crate) ipv6: bool,
    /// What a socket must have to pass its devices, if they are closed.
    pub(crate) pass: Option<FramePass>,
    /// The text of resolv.conf(5) as that process sees it now; empty if there is none.
    pub(crate) resolv_conf: Vec<u8>,
}

impl OwnNetwork {
    /// Returns that of the process `pid`, whose devices are closed but for `pass`, or `None` if it leads nowhere. Its resolv.conf is
    /// `resolv_conf`, or what the process sees.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(super) fn of(pid: Pid, pass: Option<FramePass>, resolv_conf: Option<&Path>) -> Result<Option<Self>, Failure> {
        let failed = |error| Failure::new(format!("cannot look at the network of process {pid}: {error}"));
        let namespace = File::open(format!("/proc/{pid}/ns/net")).map_err(failed)?;
        let (ipv4, ipv6) = network::within_namespace(&namespace, families).map_err(failed)?;
        if !ipv4 && !ipv6 {
            return Ok(None);
        }
        let (root, name) = match resolv_conf {
            Some(path) => (PathBuf::from("/"), path),
            None => (PathBuf::from(format!("/proc/{pid}/root")), Path::new(RESOLV_CONF)),
        };
        let resolv_conf = read_apart(&root, name).map_err(|error| Failure {
            hint: Some("--upstream-network host has the host's network and name servers used".into()),
            ..Failure::new(format!("cannot read the resolv.conf of process {pid}: {error}"))
        })?;
        Ok(Some(OwnNetwork {
            namespace: namespace.into(),
            ipv4,
            ipv6,
            pass,
            resolv_conf,
        }))
    }
}

/// In which families this network has an address on an interface that leads out.
fn families() -> io::Result<(bool, bool)> {
    let (mut ipv4, mut ipv6) = (false, false);
    for interface in getifaddrs()? {
        let flags = interface.flags;
        if !flags.contains(InterfaceFlags::IFF_UP) || flags.contains(InterfaceFlags::IFF_LOOPBACK) {
            continue;
        }
        let Some(address) = interface.address else { continue };
        ipv4 |= address.as_sockaddr_in().is_some();
        ipv6 |= address
            .as_sockaddr_in6()
            .is_some_and(|v6| !Ipv6Addr::is_unicast_link_local(&v6.ip()));
    }
    Ok((ipv4, ipv6))
}

/// Reads the file of this name below a root, in a child process, which can be given up; nothing if there is none.
///
/// # Errors
/// Those of reading it, and what is no file or too long.
pub(crate) fn read_apart(root: &Path, name: &Path) -> io::Result<Vec<u8>> {
    let (mut told, mut tell) = io::pipe()?;
    match clone::fork()? {
        Side::Parent(reader) => {
            drop(tell);
            let ended = clone::pidfd(reader)?;
            let in_time = wait_readable(ended.as_fd(), LIMIT);
            termination::kill_and_reap("the reader of a file", reader, ended.as_fd()).map_err(io::Error::other)?;
            if !in_time? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut bytes = Vec::new();
            told.read_to_end(&mut bytes)?;
            let read: Result<Vec<u8>, String> = serde_json::from_slice(&bytes)?;
            read.map_err(io::Error::other)
        }
        Side::Child => clone::live(|| {
            let kept = prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from);
            let kept = kept.and_then(|()| fds::close_from(3, &[tell.as_raw_fd()]));
            let read = kept.and_then(|()| read(root, name)).map_err(|error| error.to_string());
            let told = serde_json::to_vec(&read).map_err(io::Error::other);
            i32::from(told.and_then(|told| tell.write_all(&told)).is_err())
        }),
    }
}

/// Opens it as a process with that root would, so that no link leads out of it, and only if it is a file.
fn read(root: &Path, name: &Path) -> io::Result<Vec<u8>> {
    let root = File::open(root)?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let found = match openat2(&root, name, how) {
        Ok(found) => File::from(found),
        Err(nix::errno::Errno::ENOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    if !found.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let again = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    let mut bytes = Vec::new();
    File::open(again)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("it is longer than {LONGEST} bytes")));
    }
    Ok(bytes)
}
