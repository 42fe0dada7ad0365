//! The rules of a jail's network namespace. They only steer; that nothing gets out is the work of the namespace, which
//! has no interface but `lo`.
//!
//! Every address is local there, so each packet passes the output hook and comes in again by prerouting. The chain
//! `out` accepts TCP, requests to port 53 and the jail's own addresses, and refuses everything else. The chain `pre`
//! passes TCP to the jail's own listeners on its own addresses, to the resolver, or to the proxy (`nft_tproxy`: no
//! address is rewritten, no connection tracked). On a kernel without tproxy the rules redirect instead.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::expression::{
    Expression, NFPROTO_IPV4, NFPROTO_IPV6, Side, accept, address, admin_prohibited, is_not_opening, is_published,
    is_reset, log, not_protocol, port_is, protocol, redirect, socket_is_not_transparent, tcp_reset, tproxy,
};
use super::message::{Attributes, Kind, Requests};
use crate::jail::protocol::init::Inside;
use crate::jail::sandbox::network::{JAIL_V4, JAIL_V6};

pub(super) const TABLE: &str = "httpjail";
const DNS_PORT: u16 = 53;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// How connections come to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By `tproxy`: the accepted socket's own address is the destination.
    Tproxy,
    /// By `redirect`: connection tracking remembers the destination (`SO_ORIGINAL_DST`).
    Redirect,
}

/// Parts of netfilter that make refusals plainer and that a kernel may lack. Without them it refuses all the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extras {
    /// Say "prohibited" and "reset" where else a packet is only dropped.
    pub reject: bool,
    /// Tell of what is refused.
    pub log: bool,
}

/// Adds the rules to the calling thread's network namespace. The proxy listens on loopback at `port`.
///
/// # Errors
/// What netfilter refused.
pub(super) fn install(way: Way, extras: Extras, port: u16, ipv6: bool, inside: Inside) -> io::Result<()> {
    let mut batch = Requests::batch();
    batch.add("the table", Kind::Table, &Attributes::new().text(1, TABLE));
    let mut rules = Rules { batch, ipv6 };
    rules.output(extras);
    match way {
        Way::Tproxy => rules.tproxy(port, extras, inside.host_loopback),
        Way::Redirect => rules.redirect(port),
    }
    rules.batch.commit()
}

struct Rules {
    batch: Requests,
    ipv6: bool,
}

impl Rules {
    fn output(&mut self, extras: Extras) {
        self.chain("out", "filter", Hook::Output, 0, Policy::Drop);
        self.rule("out", "tcp", [protocol(TCP), is_not_opening(), vec![accept()]]);
        // With every address local, a program may bind any; but what is answered to that one goes to the proxy as well.
        for (name, own) in self.own_addresses(Side::Source) {
            self.rule("out", &format!("tcp {name}"), [protocol(TCP), own, vec![accept()]]);
        }
        if extras.reject {
            self.rule("out", "tcp from elsewhere", [protocol(TCP), vec![tcp_reset()]]);
        }
        self.rule(
            "out",
            "udp to port 53",
            [protocol(UDP), port_is(DNS_PORT), vec![accept()]],
        );
        for (name, own) in self.own_addresses(Side::Destination) {
            self.rule("out", &name, [own, vec![accept()]]);
        }
        if extras.log {
            self.rule("out", "log", [vec![log()]]);
        }
        if extras.reject {
            // The drop alone is EPERM for whom sends; the message ends the wait of a connected socket.
            self.rule("out", "reject", [vec![admin_prohibited()]]);
        }
    }

    fn tproxy(&mut self, port: u16, extras: Extras, host_loopback: bool) {
        let reject = extras.reject;
        // "mangle": before anything that looks at routes.
        self.chain("pre", "filter", Hook::Prerouting, -150, Policy::Drop);
        self.rule("pre", "what is not tcp", [not_protocol(TCP), vec![accept()]]);
        self.rule(
            "pre",
            "tcp to port 53",
            [protocol(TCP), port_is(DNS_PORT), vec![accept()]],
        );
        // From outside, for a listener of the jail: with none it is refused, or others than the jail would use the proxy.
        self.rule("pre", "published", [protocol(TCP), is_published(), vec![accept()]]);
        // Those of the rules below find whom they are for, also where that one took a foreign address.
        self.rule("pre", "tcp reset", [protocol(TCP), is_reset(), vec![accept()]]);
        for (name, own) in self.own_addresses(Side::Destination) {
            // Nobody's socket is no match, and the proxy's is transparent.
            self.rule("pre", &name, [own, socket_is_not_transparent(), vec![accept()]]);
        }
        if reject && !host_loopback {
            // No rule of the policy could allow it: the program hears at once that nobody listens.
            if extras.log {
                for (name, own) in self.own_addresses(Side::Destination) {
                    let name = format!("log of nobody at {name}");
                    self.rule("pre", &name, [protocol(TCP), own, vec![log()]]);
                }
            }
            for (name, own) in self.own_addresses(Side::Destination) {
                let name = format!("nobody at {name}");
                self.rule("pre", &name, [protocol(TCP), own, vec![tcp_reset()]]);
            }
        }
        self.rule(
            "pre",
            "tproxy for IPv4",
            [protocol(TCP), tproxy(NFPROTO_IPV4, port), vec![accept()]],
        );
        if self.ipv6 {
            self.rule(
                "pre",
                "tproxy for IPv6",
                [protocol(TCP), tproxy(NFPROTO_IPV6, port), vec![accept()]],
            );
        }
        if reject {
            // Reached when the proxy is gone: an end, not a wait.
            self.rule("pre", "reset", [protocol(TCP), vec![tcp_reset()]]);
        }
    }

    fn redirect(&mut self, port: u16) {
        self.chain("nat", "nat", Hook::Output, -100, Policy::Accept);
        self.rule(
            "nat",
            "tcp to port 53",
            [protocol(TCP), port_is(DNS_PORT), vec![accept()]],
        );
        for (name, own) in self.own_addresses(Side::Destination) {
            self.rule("nat", &name, [own, vec![accept()]]);
        }
        self.rule("nat", "redirect", [protocol(TCP), redirect(port)]);
    }

    /// The jail's own addresses. Were a listener on every address not held to these, it would answer for the whole world.
    fn own_addresses(&self, side: Side) -> Vec<(String, Vec<Expression>)> {
        // The whole of 127.0.0.0/8, by its first byte.
        let mut own = vec![(Ipv4Addr::LOCALHOST.into(), 1), (IpAddr::from(JAIL_V4), 4)];
        if self.ipv6 {
            own.extend([(Ipv6Addr::LOCALHOST.into(), 16), (IpAddr::from(JAIL_V6), 16)]);
        }
        let one = |(ip, length)| (format!("{side:?} {ip}"), address(side, ip, length));
        own.into_iter().map(one).collect()
    }

    fn chain(&mut self, name: &str, kind: &str, hook: Hook, priority: i32, policy: Policy) {
        let hook = Attributes::new().number(1, hook as u32).number(2, priority as u32);
        let chain = Attributes::new()
            .text(1, TABLE)
            .text(3, name)
            .nested(4, hook)
            .number(5, policy as u32)
            .text(7, kind);
        self.batch.add(&format!("the chain `{name}`"), Kind::Chain, &chain);
    }

    fn rule<const N: usize>(&mut self, chain: &str, name: &str, parts: [Vec<Expression>; N]) {
        let expressions = parts.into_iter().flatten();
        let list = expressions.fold(Attributes::new(), |list, expression| list.nested(1, expression.0));
        let rule = Attributes::new().text(1, TABLE).text(2, chain).nested(4, list);
        self.batch
            .add(&format!("the rule `{name}` in `{chain}`"), Kind::Rule, &rule);
    }
}

/// `enum nf_inet_hooks`.
#[derive(Clone, Copy)]
enum Hook {
    Prerouting = 0,
    Output = 3,
}

#[derive(Clone, Copy)]
enum Policy {
    Drop = 0,
    Accept = 1,
}
