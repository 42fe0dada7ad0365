//! Lists the sockets that existed before the attachment, and ends their connections.
//!
//! The programs stop what any socket of the cgroup sends and receives, however old it is. They do not see a socket that
//! was created in another cgroup and brought along (passed by systemd, or open while its process was moved): a socket
//! belongs to the cgroup of the process that created it. If there is such a socket httpjail does not attach: a
//! destroyed socket could be connected again.
//!
//! The kernel lists and destroys sockets by sock_diag(7), which does not list a socket that is neither bound nor
//! connected. The numbers are those of include/uapi/linux/inet_diag.h.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};
use nix::unistd::Pid;

use crate::audit::record::{Decision, EventKind, Record};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// NLM_F_REQUEST | NLM_F_DUMP, and NLM_F_REQUEST | NLM_F_ACK.
const DUMP: u16 = 0x301;
const ACKNOWLEDGE: u16 = 5;
const INET_DIAG_CGROUP_ID: u16 = 21;
const HEADER: usize = 16;
/// Of `struct inet_diag_req_v2`, and where its `struct inet_diag_sockid` (48 bytes) begins.
const REQUEST: usize = 56;
const REQUEST_ID: usize = 8;
/// Of `struct inet_diag_msg`, and where its `struct inet_diag_sockid` begins.
const ANSWER: usize = 72;
const ANSWER_ID: usize = 4;
const ID: usize = 48;

const FAMILIES: [u8; 2] = [2, 10];
const TCP: u8 = 6;
const UDP: u8 = 17;
const PROTOCOLS: [(u8, &str); 4] = [(TCP, "tcp"), (UDP, "udp"), (136, "udp-lite"), (255, "raw")];
const TCP_LISTEN: u8 = 10;
const TCP_TIME_WAIT: u8 = 6;

/// A socket that is older than the attachment.
#[derive(Debug)]
pub(super) struct PreexistingSocket {
    family: u8,
    protocol: (u8, &'static str),
    state: u8,
    id: [u8; ID],
    inode: u32,
    /// The number of the cgroup that it belongs to.
    cgroup: Option<u64>,
    /// A process that has it open.
    holder: Option<Pid>,
}

impl PreexistingSocket {
    /// Those of the network namespace we are in that belong to the cgroups `ids`, or that one of `processes` has open.
    ///
    /// # Errors
    /// When the kernel cannot list its sockets.
    pub(super) fn list(ids: &BTreeSet<u64>, processes: &[Pid]) -> io::Result<Vec<PreexistingSocket>> {
        let holders = holders(processes);
        let mut found = Vec::new();
        for protocol in PROTOCOLS {
            for family in FAMILIES {
                match dump(family, protocol) {
                    Ok(sockets) => found.extend(sockets),
                    // Many kernels do not list those two; TCP and UDP must be listed, or we know nothing.
                    Err(error) if protocol.0 > UDP && error.raw_os_error() == Some(libc::ENOENT) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        for socket in &mut found {
            socket.holder = holders.get(&socket.inode).copied().filter(|_| socket.inode != 0);
        }
        found.retain(|socket| {
            socket.state != TCP_TIME_WAIT
                && (socket.holder.is_some() || socket.cgroup.is_some_and(|id| ids.contains(&id)))
        });
        Ok(found)
    }

    /// Whether it was made outside the cgroups `ids`, so that no program sees what it sends.
    pub(super) fn is_foreign(&self, ids: &BTreeSet<u64>) -> bool {
        self.cgroup.is_none_or(|id| !ids.contains(&id))
    }

    /// Whether it is a connection, whose program would wait for an answer that cannot come any more.
    pub(super) fn is_connection(&self) -> bool {
        self.protocol.0 == TCP && self.state != TCP_LISTEN
    }

    /// Ends it: whoever has it open gets ECONNABORTED instead of waiting.
    ///
    /// # Errors
    /// EOPNOTSUPP where the kernel was built without CONFIG_INET_DIAG_DESTROY. One that has gone meanwhile is none.
    pub(super) fn destroy(&self) -> io::Result<()> {
        let message = request(SOCK_DESTROY, ACKNOWLEDGE, self.family, self.protocol.0, &self.id);
        for answer in ask(&message)? {
            match answer {
                Answer::Error(0) => return Ok(()),
                Answer::Error(errno) if errno == libc::ENOENT => return Ok(()),
                Answer::Error(errno) => return Err(io::Error::from_raw_os_error(errno)),
                Answer::Socket(_) => {}
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    /// As the log says it.
    pub(super) fn record(&self) -> Record {
        let comm = |pid: Pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok();
        let mut record = Record::new(EventKind::Blocked);
        record.verdict = Some(Decision::Deny);
        record.reason = Some(format!("{} socket older than the jail", self.protocol.1));
        record.dst = Some(self.far()).filter(|far| far.port() != 0);
        record.pid = self.holder.map(|pid| pid.as_raw().unsigned_abs());
        record.comm = self.holder.and_then(comm).map(|comm| comm.trim_end().to_owned());
        record.cgroup = self.cgroup;
        record
    }

    fn far(&self) -> SocketAddr {
        let port = u16::from_be_bytes([self.id[2], self.id[3]]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.id[20..36]);
        let address = if self.family == FAMILIES[0] {
            IpAddr::from(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
        } else {
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        };
        SocketAddr::new(address, port)
    }
}

impl std::fmt::Display for PreexistingSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let near = u16::from_be_bytes([self.id[0], self.id[1]]);
        write!(f, "{} port {near} to {}", self.protocol.1, self.far())?;
        self.holder.map_or(Ok(()), |pid| write!(f, " of process {pid}"))
    }
}

/// Which of `processes` has which socket open, by the sockets' inode numbers.
fn holders(processes: &[Pid]) -> BTreeMap<u32, Pid> {
    let mut holders = BTreeMap::new();
    for pid in processes {
        // One that has ended has none.
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let inode = target
                .to_str()
                .and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode {
                holders.insert(inode, *pid);
            }
        }
    }
    holders
}

fn dump(family: u8, protocol: (u8, &'static str)) -> io::Result<Vec<PreexistingSocket>> {
    let message = request(SOCK_DIAG_BY_FAMILY, DUMP, family, protocol.0, &[0; ID]);
    let mut sockets = Vec::new();
    for answer in ask(&message)? {
        match answer {
            Answer::Error(0) => {}
            Answer::Error(errno) => return Err(io::Error::from_raw_os_error(errno)),
            Answer::Socket(body) => sockets.extend(read(&body, protocol)),
        }
    }
    Ok(sockets)
}

/// Reads a `struct inet_diag_msg` and the attribute that tells the cgroup.
fn read(body: &[u8], protocol: (u8, &'static str)) -> Option<PreexistingSocket> {
    let (fixed, mut attributes) = body.split_at_checked(ANSWER)?;
    let mut cgroup = None;
    while let Some((header, rest)) = attributes.split_at_checked(4) {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]])).checked_sub(4)?;
        let value = rest.get(..length)?;
        if u16::from_ne_bytes([header[2], header[3]]) == INET_DIAG_CGROUP_ID {
            cgroup = value.try_into().ok().map(u64::from_ne_bytes);
        }
        attributes = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(PreexistingSocket {
        family: fixed[0],
        protocol,
        state: fixed[1],
        id: fixed.get(ANSWER_ID..ANSWER_ID + ID)?.try_into().ok()?,
        inode: u32::from_ne_bytes(fixed.get(68..72)?.try_into().ok()?),
        cgroup,
        holder: None,
    })
}

fn request(kind: u16, flags: u16, family: u8, protocol: u8, id: &[u8; ID]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + REQUEST);
    message.extend_from_slice(&((HEADER + REQUEST) as u32).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    // No extensions; every state.
    message.extend_from_slice(&[family, protocol, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    debug_assert_eq!(message.len(), HEADER + REQUEST_ID);
    message.extend_from_slice(id);
    message
}

enum Answer {
    Socket(Vec<u8>),
    /// 0 for "done".
    Error(i32),
}

/// Sends one request and reads to the end of the answer.
fn ask(message: &[u8]) -> io::Result<Vec<Answer>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    socket.send(message, 0)?;
    let mut answers = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = bytes.as_slice();
        if rest.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while let Some(header) = rest.get(..HEADER) {
            let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
            let cut = || io::Error::new(io::ErrorKind::InvalidData, "a netlink message is truncated");
            let body = rest.get(HEADER..length).ok_or_else(cut)?;
            match u16::from_ne_bytes([header[4], header[5]]) {
                NLMSG_DONE => return Ok(answers),
                NLMSG_ERROR => {
                    let errno = body.get(..4).and_then(|errno| errno.try_into().ok()).ok_or_else(cut)?;
                    answers.push(Answer::Error(-i32::from_ne_bytes(errno)));
                    return Ok(answers);
                }
                _ => answers.push(Answer::Socket(body.to_vec())),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    // Proves: S04.
    #[test]
    fn a_connection_is_listed_with_its_cgroup_and_can_be_ended() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = near.peer_addr().unwrap();
        let mine = || -> Vec<PreexistingSocket> {
            let listed = PreexistingSocket::list(&BTreeSet::new(), &[nix::unistd::getpid()]).unwrap();
            listed.into_iter().filter(|socket| socket.far() == far).collect()
        };
        let [socket] = &mine()[..] else { panic!("{:?}", mine()) };
        assert!(socket.is_connection());
        let cgroup = socket.cgroup.expect("the kernel tells it");
        assert!(socket.is_foreign(&BTreeSet::new()) && !socket.is_foreign(&BTreeSet::from([cgroup])));
        assert_eq!(socket.record().dst, Some(far));
        if nix::unistd::geteuid().is_root() {
            match socket.destroy() {
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => eprintln!("skipped: {error}"),
                destroyed => {
                    destroyed.unwrap();
                    assert_eq!(mine().len(), 0);
                }
            }
        }
    }

    #[test]
    fn what_is_cut_short_is_no_socket() {
        let whole: Vec<u8> = [&[2, 1][..], &[0; 70], &[12, 0, 21, 0, 7, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(read(&whole, PROTOCOLS[0]).expect("a socket").cgroup, Some(7));
        // Without the attribute: a socket of nobody knows which cgroup, and so foreign.
        let without = read(&whole[..ANSWER], PROTOCOLS[0]).expect("a socket");
        assert!(without.is_foreign(&BTreeSet::from([7])));
        for length in (0..ANSWER).chain(ANSWER + 4..whole.len()) {
            assert!(read(&whole[..length], PROTOCOLS[0]).is_none(), "{length}");
        }
    }
}
