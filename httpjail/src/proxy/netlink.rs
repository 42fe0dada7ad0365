//! Questions to the kernel about one address or one connection, by netlink: it answers at once, however many there are.

use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};

const HEADER: usize = 16;
/// Room for the answer about one route, which takes a few hundred bytes.
const ANSWER: usize = 4096;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;

/// include/uapi/linux/rtnetlink.h
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTN_LOCAL: u8 = 2;
const RTN_ANYCAST: u8 = 4;
/// Where `rtm_type` lies in `struct rtmsg`.
const ROUTE_TYPE: usize = 7;

/// include/uapi/linux/inet_diag.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const TCP: u8 = 6;
/// Of `struct inet_diag_msg`; where the ports and the owner lie in it.
const SOCKET: usize = 72;
const PORTS: usize = 4;
const OWNER: usize = 64;
/// TCP_ESTABLISHED (include/net/tcp_states.h). Sockets in other states may be listed without their owner.
const ESTABLISHED: u8 = 1;

/// AF_INET and AF_INET6.
const FAMILIES: [u8; 2] = [2, 10];

/// Returns whether what is sent to `address` stays on this host: that of an interface, or of a route that makes a whole
/// range local.
///
/// # Errors
/// When the kernel does not say.
pub(crate) fn is_local(address: IpAddr) -> io::Result<bool> {
    is_local_route(ask(protocols::NETLINK_ROUTE, RTM_GETROUTE, &route_to(address))?)
}

/// Asks the same in the network of `routes`, a socket of rtnetlink whose calls do not block. One question at a time: an answer
/// that was not read would be taken for the next question's.
///
/// # Errors
/// As for [`is_local`]. The socket is not to be used again.
pub(crate) fn is_local_in(mut routes: &socket2::Socket, address: IpAddr) -> io::Result<bool> {
    routes.write_all(&message(RTM_GETROUTE, &route_to(address)))?;
    let mut answer = vec![0; ANSWER];
    let length = routes.read(&mut answer)?;
    is_local_route(answered(answer.get(..length).unwrap_or_default())?)
}

fn route_to(address: IpAddr) -> Vec<u8> {
    let (family, bytes) = plain(address);
    let mut body = vec![0; 12];
    (body[0], body[1]) = (family, 8 * bytes.len() as u8);
    body.extend_from_slice(&(4 + bytes.len() as u16).to_ne_bytes());
    body.extend_from_slice(&RTA_DST.to_ne_bytes());
    body.extend_from_slice(&bytes);
    body
}

fn is_local_route(answer: Result<Vec<u8>, i32>) -> io::Result<bool> {
    match answer {
        Ok(route) => {
            let kind = route.get(ROUTE_TYPE).copied();
            Ok(matches!(kind, Some(RTN_LOCAL | RTN_ANYCAST) | None))
        }
        // No way there, or one that is closed (net/ipv4/fib_semantics.c, `fib_props`).
        Err(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL | libc::EAGAIN) => Ok(false),
        Err(errno) => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Returns the owner of the TCP socket from `one` to `other`, if there is such a socket.
///
/// # Errors
/// When the kernel does not say. ENOENT may also be one that cannot (no `tcp_diag`).
pub(crate) fn owner(one: SocketAddr, other: SocketAddr) -> io::Result<Option<u32>> {
    let ((family, from), (of_other, to)) = (plain(one.ip()), plain(other.ip()));
    if family != of_other {
        return Ok(None);
    }
    let mut id = Vec::with_capacity(48);
    for port in [one.port(), other.port()] {
        id.extend_from_slice(&port.to_be_bytes());
    }
    for address in [from, to] {
        let mut field = [0; 16];
        field[..address.len()].copy_from_slice(&address);
        id.extend_from_slice(&field);
    }
    // Whatever interface; no cookie (INET_DIAG_NOCOOKIE).
    id.extend_from_slice(&[0; 4]);
    id.extend_from_slice(&[0xff; 8]);
    // No extensions; every state.
    let mut body = vec![family, TCP, 0, 0, 0xff, 0xff, 0xff, 0xff];
    body.extend_from_slice(&id);
    let found = ask(protocols::NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, &body)?.map_err(io::Error::from_raw_os_error)?;
    let cut = || io::Error::new(io::ErrorKind::InvalidData, "a netlink message is cut");
    let found = found.get(..SOCKET).ok_or_else(cut)?;
    // A listener is found where there is no connection.
    if found[1] != ESTABLISHED || found[PORTS..PORTS + 4] != id[..4] {
        return Ok(None);
    }
    let owner = found[OWNER..OWNER + 4].try_into().map_err(|_| cut())?;
    Ok(Some(u32::from_ne_bytes(owner)))
}

fn plain(address: IpAddr) -> (u8, Vec<u8>) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (FAMILIES[0], v4.octets().to_vec()),
        IpAddr::V6(v6) => (FAMILIES[1], v6.octets().to_vec()),
    }
}

/// One question, and the body of its answer or the kernel's errno.
fn ask(protocol: isize, kind: u16, body: &[u8]) -> io::Result<Result<Vec<u8>, i32>> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    // The answer is there when `send` comes back (net/netlink/af_netlink.c, `netlink_unicast_kernel`).
    socket.set_non_blocking(true)?;
    socket.send(&message(kind, body), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    answered(&answer)
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(body);
    message
}

fn answered(answer: &[u8]) -> io::Result<Result<Vec<u8>, i32>> {
    let cut = || io::Error::new(io::ErrorKind::InvalidData, "a netlink message is cut");
    let (header, body) = answer.split_at_checked(HEADER).ok_or_else(cut)?;
    if u16::from_ne_bytes([header[4], header[5]]) == NLMSG_ERROR {
        let errno = body.get(..4).and_then(|errno| errno.try_into().ok()).ok_or_else(cut)?;
        return Ok(Err(-i32::from_ne_bytes(errno)));
    }
    Ok(Ok(body.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    // Proves: S17, S20.
    #[test]
    fn what_is_local() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("2001:db8:5ea::1", false),
        ] {
            assert_eq!(is_local(address.parse().unwrap()).unwrap(), expected, "{address}");
        }
    }

    #[test]
    fn whose_connection() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let to = listener.local_addr().unwrap();
            let client = TcpStream::connect(to).unwrap();
            let from = client.local_addr().unwrap();
            let me = nix::unistd::geteuid().as_raw();
            assert_eq!(owner(from, to).unwrap(), Some(me), "{address}");
            // Not accepted yet, or nobody: the listener is no connection.
            let other = SocketAddr::new(from.ip(), if from.port() == 1 { 2 } else { 1 });
            assert!(!matches!(owner(to, other), Ok(Some(_))), "{address}");
            let error = owner(other, to).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{address}");
        }
    }
}
