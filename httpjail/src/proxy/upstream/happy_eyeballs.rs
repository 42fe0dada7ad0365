//! Happy eyeballs (RFC 8305): to the first of a host's addresses that answers, whatever its family.

use crate::proxy::upstream::network::Network;
use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The head start of each address over the next, unless it fails before (section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// `addresses` in the order in which they are tried: the families take turns, so that no family that leads nowhere is
/// tried to its end before the other (section 4). The first is whichever the resolver put first (RFC 6724), and
/// `preferred` comes before it where it is among them.
pub(crate) fn in_turns(addresses: Vec<IpAddr>, preferred: Option<IpAddr>) -> Vec<IpAddr> {
    let preferred = preferred.filter(|preferred| addresses.contains(preferred));
    let rest = addresses.into_iter().filter(|address| Some(*address) != preferred);
    let mut order: Vec<IpAddr> = preferred.into_iter().chain(rest).collect();
    order.dedup();
    let Some(first) = order.first().copied() else {
        return order;
    };
    let (mut same, mut other): (VecDeque<IpAddr>, VecDeque<IpAddr>) = order
        .drain(..)
        .partition(|address| address.is_ipv4() == first.is_ipv4());
    while !same.is_empty() || !other.is_empty() {
        order.extend(same.pop_front().into_iter().chain(other.pop_front()));
    }
    order
}

/// Connects to the first of `addresses` that answers, in their order.
pub(crate) async fn connect(network: &dyn Network, addresses: Vec<IpAddr>, port: u16) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter().peekable();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(network.connect((address, port).into()));
        }
        let head_start = match addresses.peek() {
            Some(_) => STAGGER,
            None => Duration::MAX,
        };
        match timeout(head_start, attempts.join_next()).await {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(error)))) => last = error,
            Ok(None) => return Err(last),
            // A task of ours neither panics nor is aborted; the clock of a head start may run out.
            Ok(Some(Err(_))) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let check = |given: &str, preferred: Option<&str>, expected: &str| {
            let parse = |text: &str| text.parse().unwrap();
            let given = given.split_whitespace().map(parse).collect();
            let order = in_turns(given, preferred.map(parse));
            let order: Vec<_> = order.iter().map(IpAddr::to_string).collect();
            assert_eq!(order.join(" "), expected);
        };
        check("", None, "");
        check("1.0.0.1 1.0.0.2", None, "1.0.0.1 1.0.0.2");
        check("::1 ::2 ::3 1.0.0.1", None, "::1 1.0.0.1 ::2 ::3");
        check("1.0.0.1 1.0.0.2 ::1 ::2 ::3", None, "1.0.0.1 ::1 1.0.0.2 ::2 ::3");
        check("::1 ::2 1.0.0.1", Some("1.0.0.1"), "1.0.0.1 ::1 ::2");
        check("::1 ::2 1.0.0.1", Some("::2"), "::2 1.0.0.1 ::1");
        check("::1 1.0.0.1", Some("1.0.0.9"), "::1 1.0.0.1");
        check("::1 ::1 1.0.0.1 1.0.0.1", None, "::1 1.0.0.1");
    }
}
