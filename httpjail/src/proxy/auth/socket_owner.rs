//! Which user owns the client's socket, for clients that cannot show a token.
//!
//! The JVM takes a proxy's address and no password, so weak mode admits connections of its own user without the token.
//! Linux tells the owner of one socket. Where it does not answer for one socket, it lists them all. Where it does
//! neither, the owner is unknown and only the token counts.

use crate::sync::lock;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;

const LISTS: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// TCP_ESTABLISHED (include/net/tcp_states.h). Sockets in other states may be listed without their owner.
const ESTABLISHED: &str = "01";

/// Returns whether the socket at the other end of `local`, connected from `peer`, belongs to the user that this process
/// runs as. Asks the kernel: not for the runtime's threads.
pub(crate) fn is_own_user(peer: SocketAddr, local: SocketAddr) -> bool {
    let owner = owner(peer, local);
    owner.is_some() && owner == own_user()
}

#[cfg(target_os = "linux")]
fn owner(peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    use crate::proxy::netlink;
    match netlink::owner(peer, local) {
        Ok(owner) => owner,
        // Our end is there for certain: a kernel that does not find it cannot look.
        Err(_) if matches!(netlink::owner(local, peer), Ok(Some(_))) => None,
        Err(_) => listed_owner(peer, local),
    }
}

#[cfg(not(target_os = "linux"))]
fn owner(peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    listed_owner(peer, local)
}

/// The same from the lists of all sockets. One at a time: they are long where there are many.
fn listed_owner(peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = lock(&ONE);
    LISTS
        .iter()
        .filter_map(|list| fs::read_to_string(list).ok())
        .find_map(|list| owner_in(&list, peer, local))
}

#[cfg(unix)]
fn own_user() -> Option<u32> {
    Some(nix::unistd::geteuid().as_raw())
}

#[cfg(not(unix))]
fn own_user() -> Option<u32> {
    None
}

/// The owner of the socket from `one` to `other` (Documentation/networking/proc_net_tcp.rst).
fn owner_in(list: &str, one: SocketAddr, other: SocketAddr) -> Option<u32> {
    let plain = |address: SocketAddr| Some((address.ip().to_canonical(), address.port()));
    list.lines().skip(1).find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (from, to, state) = (words.next()?, words.next()?, words.next()?);
        let uid = words.nth(3)?;
        let found = state == ESTABLISHED && address(from) == plain(one) && address(to) == plain(other);
        found.then(|| uid.parse().ok()).flatten()
    })
}

/// `0100007F:1F90`: words of 32 bits as the machine has them in memory, then the port.
fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(8 * at..8 * at + 8)?, 16).ok()?;
        Some(u128::from(u32::from_be_bytes(word.to_ne_bytes())))
    };
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(u32::try_from(word(0)?).ok()?)),
        32 => {
            let whole = word(0)? << 96 | word(1)? << 64 | word(2)? << 32 | word(3)?;
            IpAddr::from(Ipv6Addr::from(whole)).to_canonical()
        }
        _ => return None,
    };
    Some((ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    const LIST: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0
   1: 0100007F:C001 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 2 1 0 20 4 30 10 -1
   2: 0100007F:C002 0100007F:1F90 06 00000000:00000000 00:00000000 00000000     0        0 0 1 0
   3: 0000000000000000FFFF00000100007F:C003 0000000000000000FFFF00000100007F:1F90 01 0:0 00:0 0  1003 0 3
   4: B80D0120000000000000000001000000:C004 00000000000000000000000001000000:1F90 01 0:0 00:0 0  1004 0 4
";

    #[test]
    fn owners() {
        let owner = |from: &str, to: &str| owner_in(LIST, from.parse().unwrap(), to.parse().unwrap());
        assert_eq!(owner("127.0.0.1:49153", "127.0.0.1:8080"), Some(1001));
        assert_eq!(owner("127.0.0.1:49155", "127.0.0.1:8080"), Some(1003));
        assert_eq!(owner("[2001:db8::1]:49156", "[::1]:8080"), Some(1004));
        // Gone already; another port; the other way round; nobody.
        assert_eq!(owner("127.0.0.1:49154", "127.0.0.1:8080"), None);
        assert_eq!(owner("127.0.0.1:49153", "127.0.0.1:8081"), None);
        assert_eq!(owner("127.0.0.1:8080", "127.0.0.1:49153"), None);
        assert_eq!(owner("127.0.0.2:49153", "127.0.0.1:8080"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_connection_of_ones_own() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(to).unwrap();
        assert!(is_own_user(client.local_addr().unwrap(), to));
        assert!(!is_own_user("127.0.0.1:1".parse().unwrap(), to));
        let own = own_user();
        assert_eq!(listed_owner(client.local_addr().unwrap(), to), own);
    }
}
