//! Which loopback ports the host itself listens on: a jail has a loopback of its own, and a program that connects to `localhost`
//! there may mean the host's.
//!
//! The kernel refuses a connection to a loopback port on which nothing in the jail listens. Programs try such ports by habit, so
//! that is usually not worth a word. Where a program of the host listens on that port it is, with the rule that leads to it.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::audit::record::SERVICE_OF_HOST;
use crate::audit::{EventKind, Record};

/// The tables are read so often at most: a program may try without end.
const PAUSE: Duration = Duration::from_secs(1);
/// So many ports are remembered.
const KNOWN_MAX: usize = 1000;

/// Knows which loopback ports the host listens on.
#[derive(Debug, Default)]
pub(crate) struct HostPorts {
    known: HashSet<SocketAddr>,
    read: Option<Instant>,
}

impl HostPorts {
    /// Says of what was refused that it is a service of the host, if it is.
    pub(crate) fn tell(&mut self, record: &mut Record) {
        let Some(wanted) = record
            .dst
            .filter(|dst| record.event == EventKind::Probe && dst.ip().to_canonical().is_loopback())
        else {
            return;
        };
        if self.listens(SocketAddr::new(wanted.ip().to_canonical(), wanted.port())) {
            record.event = EventKind::Refused;
            record.reason = Some(SERVICE_OF_HOST.to_owned());
            record.host = Some("localhost".to_owned());
        }
    }

    fn listens(&mut self, wanted: SocketAddr) -> bool {
        if self.known.contains(&wanted) {
            return true;
        }
        if self.read.is_some_and(|read| read.elapsed() < PAUSE) {
            return false;
        }
        self.read = Some(Instant::now());
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
        let found = tables.iter().flat_map(|table| table.lines()).filter_map(listener);
        let is_there = found.into_iter().any(|listener| answers(listener, wanted));
        if is_there && self.known.len() < KNOWN_MAX {
            self.known.insert(wanted);
        }
        is_there
    }
}

/// Whether what listens at one address answers at another.
fn answers(listener: SocketAddr, wanted: SocketAddr) -> bool {
    let ip = listener.ip().to_canonical();
    let any = match ip {
        IpAddr::V4(any) => any.is_unspecified() && wanted.is_ipv4(),
        // Usually both families' (net.ipv6.bindv6only is 0).
        IpAddr::V6(any) => any.is_unspecified(),
    };
    listener.port() == wanted.port() && (any || ip == wanted.ip())
}

/// The address of a line whose socket listens (proc_pid_net(5)): words of 32 bits in the host's order, in hexadecimal.
fn listener(line: &str) -> Option<SocketAddr> {
    const LISTENS: &str = "0A";
    let mut fields = line.split_whitespace().skip(1);
    let (local, state) = (fields.next()?, fields.nth(1)?);
    let (ip, port) = local.split_once(':').filter(|_| state == LISTENS)?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words = ip.as_bytes().chunks(8).map(|word| {
        let word = std::str::from_utf8(word).ok()?;
        Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
    });
    let bytes = words.collect::<Option<Vec<_>>>()?.concat();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_tables() {
        let v4 = "   0: 0100007F:1FBC 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 41 1 0 100 0 0 10 0";
        let v6 =
            "   1: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000";
        if cfg!(target_endian = "little") {
            assert_eq!(listener(v4), Some("127.0.0.1:8124".parse().unwrap()));
        }
        assert_eq!(listener(v6), Some("[::]:22".parse().unwrap()));
        assert_eq!(listener(&v4.replace(" 0A ", " 01 ")), None);
        assert_eq!(listener("  sl  local_address rem_address   st tx_queue"), None);
    }

    #[test]
    fn who_answers() {
        let answers = |listener: &str, wanted: &str| answers(listener.parse().unwrap(), wanted.parse().unwrap());
        assert!(answers("127.0.0.1:80", "127.0.0.1:80") && answers("0.0.0.0:80", "127.0.0.9:80"));
        assert!(answers("[::]:80", "127.0.0.1:80") && answers("[::1]:80", "[::1]:80"));
        assert!(!answers("127.0.0.1:80", "127.0.0.1:81") && !answers("0.0.0.0:80", "[::1]:80"));
        assert!(!answers("192.0.2.1:80", "127.0.0.1:80"));
    }
}
