//! Holds frames: chains at the egress of every device of a network namespace, which let pass what httpjail's own sockets send
//! and nothing else that a socket sends.
//!
//! Programs on a cgroup see what IP sends. A process with CAP_NET_RAW writes frames itself (AF_PACKET), past IP, and docker
//! gives that right by default. These chains are below both. PACKET_QDISC_BYPASS does not pass them by (net/packet/af_packet.c,
//! `packet_xmit`: `nf_hook_direct_egress`).
//!
//! The kernel's own frames that find a neighbor pass: they have no socket that a program has open.
//!
//! Each attachment has a table of its own, and a frame has to pass all of them. Those in one network let the same mark pass, and none
//! takes it away before all have seen it.

use std::io;

use super::expression::{
    Expression, accept, drop_it, has_mark, has_open_socket, has_priority, is_arp, is_ipv6, is_neighbor_discovery,
    is_not_opening, protocol, source_port_is, to_network, without_mark,
};
use super::message::{Attributes, Kind, NFPROTO_NETDEV, Requests};
use crate::jail::sandbox::network::FramePass;
use crate::net::Inbound;

const TCP: u8 = 6;
const ICMPV6: u8 = 58;
/// `NF_NETDEV_EGRESS` of `linux/netfilter.h`.
const EGRESS: u32 = 1;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// Closes these devices of the calling thread's network namespace, in place of those that the table held before.
///
/// # Errors
/// What netfilter refused: a kernel before Linux 5.16 has no such hook.
pub(crate) fn close(table: &str, devices: &[String], pass: FramePass, peers: &[Inbound]) -> io::Result<()> {
    let mut batch = Requests::batch_of(NFPROTO_NETDEV);
    let this = Attributes::new().text(1, table);
    batch.add("the table", Kind::Table, &this);
    batch.add("the removal of the old table", Kind::TableGone, &this);
    batch.add("the table", Kind::Table, &this);
    for (number, device) in devices.iter().enumerate() {
        let (out, last) = (format!("out{number}"), format!("last{number}"));
        for (chain, priority, policy) in [(&out, 0, DROP), (&last, 1, ACCEPT)] {
            let hook = Attributes::new().number(1, EGRESS).number(2, priority).text(3, device);
            let made = Attributes::new()
                .text(1, table)
                .text(3, chain)
                .nested(4, hook)
                .number(5, policy)
                .text(7, "filter");
            batch.add(&format!("a chain at the device {device}"), Kind::Chain, &made);
        }
        let rules = rules(pass, peers).into_iter().map(|(name, parts)| (&out, name, parts));
        for (chain, name, parts) in rules.chain([(&last, "what nobody may learn", unmark(pass))]) {
            let list = parts.into_iter().flatten();
            let list = list.fold(Attributes::new(), |list, expression| list.nested(1, expression.0));
            let rule = Attributes::new().text(1, table).text(2, chain).nested(4, list);
            batch.add(&format!("the rule `{name}`"), Kind::Rule, &rule);
        }
    }
    batch.commit()
}

/// Opens them again.
///
/// # Errors
/// NotFound if they are open.
pub(crate) fn open(table: &str) -> io::Result<()> {
    let mut batch = Requests::batch_of(NFPROTO_NETDEV);
    batch.add(
        "the removal of the table",
        Kind::TableGone,
        &Attributes::new().text(1, table),
    );
    batch.commit()
}

/// What listens to all frames (AF_PACKET) is told after these chains, and must not learn the mark.
fn unmark(pass: FramePass) -> Vec<Vec<Expression>> {
    vec![has_mark(pass.mark), has_priority(pass.priority), without_mark()]
}

fn rules(pass: FramePass, peers: &[Inbound]) -> Vec<(&'static str, Vec<Vec<Expression>>)> {
    let mut rules = vec![(
        "httpjail's own",
        vec![has_mark(pass.mark), has_priority(pass.priority), vec![accept()]],
    )];
    // Before what programs send: who is let in gets answers, and frames from such a port are answers, too.
    rules.extend(peers.iter().map(|peers| {
        let answer = vec![
            protocol(TCP),
            source_port_is(peers.port),
            to_network(peers.network, peers.bits),
            is_not_opening(),
            vec![accept()],
        ];
        ("answers to peers that are let in", answer)
    }));
    rules.extend([
        ("what programs send", vec![has_open_socket(), vec![drop_it()]]),
        ("neighbors", vec![is_arp(), vec![accept()]]),
        (
            "neighbors of IPv6",
            vec![is_ipv6(), protocol(ICMPV6), is_neighbor_discovery(), vec![accept()]],
        ),
    ]);
    rules
}
