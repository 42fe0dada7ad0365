//! The expressions of an nf_tables rule (`nf_tables.h`). A packet passes each of them or not.
//!
//! An expression loads a value into a register, compares it, or acts. What needs several of them is a list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::events::GROUP;
use super::message::Attributes;
use crate::jail::sandbox::network::PUBLISH_MARK;

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
pub(super) const NFPROTO_IPV4: u8 = 2;
pub(super) const NFPROTO_IPV6: u8 = 10;
/// `NFT_REG_VERDICT`, `NFT_REG_1` and `NFT_REG_2`: the verdict, and two registers of 16 bytes.
const VERDICT: u32 = 0;
const FIRST: u32 = 1;
const SECOND: u32 = 2;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_ARP: u16 = 0x0806;
const ETH_P_IPV6: u16 = 0x86dd;
/// Router and neighbor solicitations and advertisements (RFC 4861 section 4).
const NEIGHBORS: [u8; 2] = [133, 136];

/// One step of a rule: a name and its attributes.
pub(super) struct Expression(pub(super) Attributes);

fn expression(name: &str, attributes: Attributes) -> Expression {
    Expression(Attributes::new().text(1, name).nested(2, attributes))
}

pub(super) fn protocol(number: u8) -> Vec<Expression> {
    vec![meta(Meta::L4Protocol), compare(Compare::Equal, &[number])]
}

pub(super) fn not_protocol(number: u8) -> Vec<Expression> {
    vec![meta(Meta::L4Protocol), compare(Compare::NotEqual, &[number])]
}

/// The destination port, which TCP and UDP have in the same place.
pub(super) fn port_is(port: u16) -> Vec<Expression> {
    vec![
        payload(Base::Transport, 2, 2),
        compare(Compare::Equal, &port.to_be_bytes()),
    ]
}

/// The source port.
pub(super) fn source_port_is(port: u16) -> Vec<Expression> {
    vec![
        payload(Base::Transport, 0, 2),
        compare(Compare::Equal, &port.to_be_bytes()),
    ]
}

/// The destination is in this network.
pub(super) fn to_network(network: IpAddr, bits: u8) -> Vec<Expression> {
    let (ether_type, offset, bytes) = match network {
        IpAddr::V4(network) => (ETH_P_IP, 16, network.octets().to_vec()),
        IpAddr::V6(network) => (ETH_P_IPV6, 24, network.octets().to_vec()),
    };
    let of_byte = |index: usize| (0xff00_u16 >> usize::from(bits).saturating_sub(8 * index).min(8)) as u8;
    let mask: Vec<u8> = (0..bytes.len()).map(of_byte).collect();
    let wanted: Vec<u8> = bytes.iter().zip(&mask).map(|(byte, mask)| byte & mask).collect();
    vec![
        meta(Meta::Protocol),
        compare(Compare::Equal, &ether_type.to_be_bytes()),
        payload(Base::Network, offset, bytes.len() as u32),
        and(&mask),
        compare(Compare::Equal, &wanted),
    ]
}

/// Any TCP segment but the one that opens a connection.
pub(super) fn is_not_opening() -> Vec<Expression> {
    flags(SYN | ACK, Compare::NotEqual, SYN)
}

pub(super) fn is_reset() -> Vec<Expression> {
    flags(RST, Compare::Equal, RST)
}

/// Of what was loaded, these bits.
fn and(mask: &[u8]) -> Expression {
    let masked = Attributes::new()
        .number(1, FIRST)
        .number(2, FIRST)
        .number(3, mask.len() as u32)
        .nested(4, value(mask))
        .nested(5, value(&vec![0; mask.len()]));
    expression("bitwise", masked)
}

/// The control bits of a TCP segment (RFC 9293 section 3.1).
fn flags(mask: u8, how: Compare, wanted: u8) -> Vec<Expression> {
    vec![payload(Base::Transport, 13, 1), and(&[mask]), compare(how, &[wanted])]
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Source,
    Destination,
}

/// The first `length` bytes of one of the packet's addresses.
pub(super) fn address(side: Side, ip: IpAddr, length: usize) -> Vec<Expression> {
    let (family, offset, bytes) = match (ip, side) {
        (IpAddr::V4(ip), Side::Source) => (NFPROTO_IPV4, 12, ip.octets().to_vec()),
        (IpAddr::V4(ip), Side::Destination) => (NFPROTO_IPV4, 16, ip.octets().to_vec()),
        (IpAddr::V6(ip), Side::Source) => (NFPROTO_IPV6, 8, ip.octets().to_vec()),
        (IpAddr::V6(ip), Side::Destination) => (NFPROTO_IPV6, 24, ip.octets().to_vec()),
    };
    vec![
        meta(Meta::Family),
        compare(Compare::Equal, &[family]),
        payload(Base::Network, offset, length as u32),
        compare(Compare::Equal, bytes.get(..length).unwrap_or(&bytes)),
    ]
}

/// What a socket of [`crate::jail::process::socket_maker`] sends.
pub(super) fn is_published() -> Vec<Expression> {
    vec![meta(Meta::Mark), compare(Compare::Equal, &PUBLISH_MARK.to_ne_bytes())]
}

pub(super) fn socket_is_not_transparent() -> Vec<Expression> {
    const NFT_SOCKET_TRANSPARENT: u32 = 0;
    let socket = Attributes::new().number(1, NFT_SOCKET_TRANSPARENT).number(2, FIRST);
    vec![expression("socket", socket), compare(Compare::Equal, &[0])]
}

/// To the proxy's listener on loopback.
pub(super) fn tproxy(family: u8, port: u16) -> Vec<Expression> {
    let address = match family {
        NFPROTO_IPV4 => Ipv4Addr::LOCALHOST.octets().to_vec(),
        _ => Ipv6Addr::LOCALHOST.octets().to_vec(),
    };
    let tproxy = Attributes::new()
        .number(1, family.into())
        .number(2, FIRST)
        .number(3, SECOND);
    vec![
        load(FIRST, &address),
        load(SECOND, &port.to_be_bytes()),
        expression("tproxy", tproxy),
    ]
}

pub(super) fn redirect(port: u16) -> Vec<Expression> {
    let redirect = Attributes::new().number(1, FIRST);
    vec![load(FIRST, &port.to_be_bytes()), expression("redir", redirect)]
}

pub(super) fn has_mark(mark: u32) -> Vec<Expression> {
    vec![meta(Meta::Mark), compare(Compare::Equal, &mark.to_ne_bytes())]
}

pub(super) fn has_priority(priority: u32) -> Vec<Expression> {
    vec![meta(Meta::Priority), compare(Compare::Equal, &priority.to_ne_bytes())]
}

/// Takes mark and priority away.
/// By the number of the device.
pub(super) fn comes_from(device: u32) -> Vec<Expression> {
    vec![meta(Meta::InputDevice), compare(Compare::Equal, &device.to_ne_bytes())]
}

/// By the number of the device.
pub(super) fn leaves_by(device: u32) -> Vec<Expression> {
    vec![meta(Meta::OutputDevice), compare(Compare::Equal, &device.to_ne_bytes())]
}

pub(super) fn without_mark() -> Vec<Expression> {
    let none = |key: Meta| {
        let set = Attributes::new().number(2, key as u32).number(3, FIRST);
        [load(FIRST, &[0; 4]), expression("meta", set)]
    };
    [none(Meta::Mark), none(Meta::Priority)].into_iter().flatten().collect()
}

/// Whoever that is: a packet without a socket, or with one of the kernel's own, has no such value and does not match
/// (net/netfilter/nft_meta.c, `nft_meta_get_eval_skugid`).
pub(super) fn has_open_socket() -> Vec<Expression> {
    vec![meta(Meta::SocketUser), compare(Compare::AtLeast, &[0; 4])]
}

pub(super) fn is_arp() -> Vec<Expression> {
    vec![meta(Meta::Protocol), compare(Compare::Equal, &ETH_P_ARP.to_be_bytes())]
}

pub(super) fn is_ipv6() -> Vec<Expression> {
    vec![meta(Meta::Protocol), compare(Compare::Equal, &ETH_P_IPV6.to_be_bytes())]
}

/// The type of an ICMPv6 message.
pub(super) fn is_neighbor_discovery() -> Vec<Expression> {
    let [first, last] = NEIGHBORS;
    vec![
        payload(Base::Transport, 0, 1),
        compare(Compare::AtLeast, &[first]),
        compare(Compare::AtMost, &[last]),
    ]
}

pub(super) fn drop_it() -> Expression {
    verdict(NF_DROP)
}

pub(super) fn accept() -> Expression {
    verdict(NF_ACCEPT)
}

fn verdict(number: u32) -> Expression {
    let verdict = Attributes::new().number(1, number);
    let data = Attributes::new().nested(2, verdict);
    expression("immediate", Attributes::new().number(1, VERDICT).nested(2, data))
}

pub(super) fn log() -> Expression {
    expression("log", Attributes::new().bytes(1, &GROUP.to_be_bytes()))
}

pub(super) fn admin_prohibited() -> Expression {
    const ICMPX_UNREACH: u32 = 2;
    const ADMIN_PROHIBITED: u8 = 3;
    let reject = Attributes::new().number(1, ICMPX_UNREACH).bytes(2, &[ADMIN_PROHIBITED]);
    expression("reject", reject)
}

pub(super) fn tcp_reset() -> Expression {
    const TCP_RST: u32 = 1;
    expression("reject", Attributes::new().number(1, TCP_RST))
}

#[derive(Clone, Copy)]
enum Meta {
    Protocol = 1,
    Priority = 2,
    Mark = 3,
    InputDevice = 4,
    OutputDevice = 5,
    SocketUser = 10,
    Family = 15,
    L4Protocol = 16,
}

fn meta(key: Meta) -> Expression {
    expression("meta", Attributes::new().number(1, FIRST).number(2, key as u32))
}

#[derive(Clone, Copy)]
enum Compare {
    Equal = 0,
    NotEqual = 1,
    AtMost = 3,
    AtLeast = 5,
}

fn compare(how: Compare, with: &[u8]) -> Expression {
    let compare = Attributes::new()
        .number(1, FIRST)
        .number(2, how as u32)
        .nested(3, value(with));
    expression("cmp", compare)
}

#[derive(Clone, Copy)]
enum Base {
    Network = 1,
    Transport = 2,
}

fn payload(base: Base, offset: u32, length: u32) -> Expression {
    let payload = Attributes::new()
        .number(1, FIRST)
        .number(2, base as u32)
        .number(3, offset)
        .number(4, length);
    expression("payload", payload)
}

fn load(register: u32, bytes: &[u8]) -> Expression {
    expression(
        "immediate",
        Attributes::new().number(1, register).nested(2, value(bytes)),
    )
}

fn value(bytes: &[u8]) -> Attributes {
    Attributes::new().bytes(1, bytes)
}
