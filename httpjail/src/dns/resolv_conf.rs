//! Reads the text of a resolv.conf(5). A container writes its own, so every line of it may be anything.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::net::Host;

/// As many servers as a libc asks (`MAXNS`).
const SERVERS: usize = 3;

/// As many domains as a libc searched for a long time (`MAXDNSRCH`).
const DOMAINS: usize = 6;

/// The most that `ndots:` may say (`RES_MAXNDOTS`).
const DOTS: usize = 15;

const DNS: u16 = 53;

/// What is read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResolvConf {
    /// Addresses, never names.
    pub(super) servers: Vec<SocketAddr>,
    /// The domains in which a name is looked for that has fewer dots than `dots`.
    pub(super) search: Vec<String>,
    pub(super) dots: usize,
}

impl ResolvConf {
    /// Reads `text`. What is no line of such a file is skipped, as libc does.
    pub(super) fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut read = ResolvConf {
            servers: Vec::new(),
            search: Vec::new(),
            dots: 1,
        };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                // A server with a zone (`fe80::1%eth0`) is skipped.
                Some("nameserver") if read.servers.len() < SERVERS => {
                    let server = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    read.servers.extend(server.map(|server| SocketAddr::new(server, DNS)));
                }
                // The last of these lines counts.
                Some("search" | "domain") => {
                    let domains = words.filter_map(|word| match Host::parse(word) {
                        Ok(Host::Name(name)) => Some(name),
                        Ok(Host::V4(_) | Host::V6(_)) | Err(_) => None,
                    });
                    read.search = domains.take(DOMAINS).collect();
                }
                Some("options") => {
                    let dots = words
                        .filter_map(|word| word.strip_prefix("ndots:")?.parse::<usize>().ok())
                        .next_back();
                    read.dots = dots.map_or(read.dots, |dots| dots.min(DOTS));
                }
                _ => {}
            }
        }
        read
    }

    /// The same, with this host as the server where none is named.
    pub(super) fn or_itself(mut self) -> Self {
        if self.servers.is_empty() {
            self.servers.push((Ipv4Addr::LOCALHOST, DNS).into());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_of_a_file() {
        for (text, expected) in [
            ("", &["127.0.0.1:53"][..]),
            (
                "# x\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 \noptions edns0\n",
                &["192.0.2.1:53", "[2001:db8::1]:53"],
            ),
            (
                "nameserver fe80::1%eth0\nnameservers 192.0.2.1\n;nameserver 192.0.2.2\nnameserver\nnameserver x",
                &["127.0.0.1:53"],
            ),
            (
                "nameserver 1.0.0.1\nnameserver 1.0.0.2\nnameserver 1.0.0.3\nnameserver 1.0.0.4",
                &["1.0.0.1:53", "1.0.0.2:53", "1.0.0.3:53"],
            ),
        ] {
            let found = ResolvConf::parse(text.as_bytes()).or_itself().servers;
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn domains_of_a_file() {
        for (text, dots, domains) in [
            ("nameserver 127.0.0.11\noptions ndots:0\n", 0, &[][..]),
            (
                "search ns.svc.cluster.local svc.cluster.local\noptions edns0 ndots:5",
                5,
                &["ns.svc.cluster.local", "svc.cluster.local"],
            ),
            ("search a.test\ndomain B.test.\noptions ndots:99", 15, &["b.test"]),
            ("search 10.0.0.1 x/y .. ok.test\noptions ndots:x", 1, &["ok.test"]),
            ("search a b c d e f g h", 1, &["a", "b", "c", "d", "e", "f"]),
        ] {
            let found = ResolvConf::parse(text.as_bytes());
            assert_eq!(
                (found.dots, found.search.as_slice()),
                (dots, &domains.iter().map(|d| (*d).to_owned()).collect::<Vec<_>>()[..]),
                "{text:?}"
            );
        }
        assert_eq!(ResolvConf::parse(b"\xff\0\nnameserver 192.0.2.1\n").servers.len(), 1);
    }
}
