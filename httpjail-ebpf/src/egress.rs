//! The backstop: an allow-list for packets, by their headers alone.
//!
//! The address hooks see what a program asks for; these see what the kernel made of it. A routing header, IP options, a
//! chosen interface, another protocol, a socket older than the jail or a connection from outside all pass the hooks above
//! and end here. Allowed is one thing: TCP or UDP straight behind a plain IP header, on the jail's `lo`, with httpjail's own
//! socket or another socket of the same jail at the far end.

use crate::{
    ALLOW, DENY,
    bits::Bit,
    endpoint::{Endpoint, ports},
    halves::{Halves, to_address, to_comm},
    inbound::is_let_in,
    lookup::{Owner, tcp_gone, tcp_owner, udp_owner},
    maps::{ASKED, armed, socket_state},
    report::{Caller, event, send},
};
use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_sk_fullsock, macros::cgroup_skb, programs::SkBuffContext};
use httpjail_common::{Direction, FlowKey, FlowValue, JailConfig, Reason};

const ETH_P_IP: u32 = 0x0800;
const ETH_P_IPV6: u32 = 0x86dd;
const IPPROTO_HOPOPTS: u8 = 0;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
/// Version 4, five words of header: no options.
const PLAIN_IPV4: u8 = 0x45;
/// A hop-by-hop header that holds a jumbo payload's length and nothing else, behind it TCP (RFC 2675 §2): next header,
/// length 0, option 0xc2 of 4 bytes.
const JUMBO: u32 = u32::from_ne_bytes([IPPROTO_TCP, 0, 0xc2, 4]);
const JUMBO_LEN: usize = 8;
/// The offset of the flags within a TCP header, and two of them (RFC 9293 §3.1).
const TCP_FLAGS: usize = 13;
/// The offset of the data's offset, in words, in the upper half.
const TCP_OFFSET: usize = 12;
const TCP_SYN: u8 = 2;
const TCP_ACK: u8 = 16;

/// An IPv4 header without options (RFC 791 §3.1), each field in network order. The addresses are numbers, because LLVM reads
/// arrays of bytes one by one.
#[repr(C)]
struct Ipv4Header {
    version_and_length: u8,
    service: u8,
    length: u16,
    identification: u16,
    fragment: u16,
    time_to_live: u8,
    protocol: u8,
    checksum: u16,
    source: u32,
    destination: u32,
}

/// An IPv6 header (RFC 8200 §3), likewise.
#[repr(C)]
struct Ipv6Header {
    version_class_and_flow: u32,
    payload_length: u16,
    next_header: u8,
    hop_limit: u8,
    source: Halves,
    destination: Halves,
}

/// Packets that sockets of the jail send.
#[cgroup_skb(egress)]
pub fn egress(ctx: SkBuffContext) -> i32 {
    judge(&ctx, Direction::Egress)
}

/// Packets that sockets of the jail are about to receive.
#[cgroup_skb(ingress)]
pub fn ingress(ctx: SkBuffContext) -> i32 {
    judge(&ctx, Direction::Ingress)
}

/// The part of a packet's headers that is judged.
struct Packet {
    protocol: u8,
    source: Endpoint,
    destination: Endpoint,
    /// Where the transport header starts.
    transport: usize,
}

const NOTHING: Packet = Packet {
    protocol: 0,
    source: Endpoint::NONE,
    destination: Endpoint::NONE,
    transport: 0,
};

#[inline(always)]
fn judge(ctx: &SkBuffContext, direction: Direction) -> i32 {
    let Some(config) = armed() else { return DENY };
    let mut packet = NOTHING;
    match parse(ctx, &mut packet).and_then(|()| peer(ctx, config, &packet, direction)) {
        Ok(()) => ALLOW,
        Err(reason) => {
            report(ctx, config, &packet, direction, reason);
            DENY
        }
    }
}

/// Reads the headers; `packet` keeps what was read when one of them is refused.
#[inline(always)]
fn parse(ctx: &SkBuffContext, packet: &mut Packet) -> Result<(), Reason> {
    match u32::from(u16::from_be(ctx.skb.protocol() as u16)) {
        ETH_P_IP => {
            let header: Ipv4Header = ctx.load(0).map_err(|_| Reason::PacketTruncated)?;
            packet.protocol = header.protocol;
            packet.source = Endpoint::v4(header.source, 0);
            packet.destination = Endpoint::v4(header.destination, 0);
            packet.transport = size_of::<Ipv4Header>();
            if header.version_and_length != PLAIN_IPV4 {
                return Err(Reason::PacketOptions);
            }
            // "More fragments" or an offset: only the first fragment has ports.
            if u16::from_be(header.fragment) & 0x3fff != 0 {
                return Err(Reason::PacketFragment);
            }
        }
        ETH_P_IPV6 => {
            let header: Ipv6Header = ctx.load(0).map_err(|_| Reason::PacketTruncated)?;
            packet.protocol = header.next_header;
            packet.source = Endpoint::new(header.source, 0);
            packet.destination = Endpoint::new(header.destination, 0);
            packet.transport = size_of::<Ipv6Header>();
            // On `lo` segments of more than 64 KiB stay whole, and the kernel itself puts this before them (`ip6_xmit` in
            // net/ipv6/ip6_output.c, since Linux 5.19). Refused, it would come again in small pieces, 200 ms later.
            if header.next_header == IPPROTO_HOPOPTS && header.payload_length == 0 {
                let option: u32 = ctx.load(packet.transport).map_err(|_| Reason::PacketTruncated)?;
                if option == JUMBO {
                    packet.protocol = IPPROTO_TCP;
                    packet.transport += JUMBO_LEN;
                }
            }
            // A fragment has its own extension header and so is no TCP or UDP either.
            if (packet.source.is_v4 | packet.destination.is_v4).holds() {
                return Err(Reason::PacketFamily);
            }
        }
        _ => return Err(Reason::PacketFamily),
    }
    if packet.protocol != IPPROTO_TCP && packet.protocol != IPPROTO_UDP {
        return Err(Reason::PacketProtocol);
    }
    let ports: [u16; 2] = ctx.load(packet.transport).map_err(|_| Reason::PacketTruncated)?;
    packet.source.port = u16::from_be(ports[0]);
    packet.destination.port = u16::from_be(ports[1]);
    Ok(())
}

/// Is the far end httpjail's socket or the jail's own?
#[inline(always)]
fn peer(ctx: &SkBuffContext, config: &JailConfig, packet: &Packet, direction: Direction) -> Result<(), Reason> {
    let skb: *mut __sk_buff = ctx.skb.skb;
    // SAFETY: the context is alive while the program runs.
    let elsewhere = !Bit::is_zero(unsafe { (*skb).ifindex ^ config.ifindex }.into());
    let (near, far) = match direction {
        Direction::Egress => (packet.source, packet.destination),
        _ => (packet.destination, packet.source),
    };
    // One branch for both, so that the verifier follows what comes from outside once.
    if (elsewhere | !far.is_local(config)).holds() {
        if config.inbound == 1 && is_inbound(ctx, config, packet, near, far, direction) {
            return Ok(());
        }
        return Err(if elsewhere.holds() {
            Reason::PacketInterface
        } else {
            Reason::PacketPeer
        });
    }
    let ports = ports(config, far.is_v4);
    let at_localhost = far.is_localhost() & !Bit::is_zero(far.port.into());
    if packet.protocol == IPPROTO_UDP {
        if (at_localhost & far.has_port(ports.resolver_udp)).holds() {
            // SAFETY: a cgroup_skb program's own context.
            if config.own_mark != 0 && unsafe { udp_owner(skb.cast(), near, far, config) } != Owner::Httpjail {
                return Err(Reason::PacketPeer);
            }
            if config.dns_open == 1 && direction == Direction::Egress {
                remember_server(ctx, config, near);
            }
            return Ok(());
        }
        // SAFETY: a cgroup_skb program's own context.
        return match unsafe { udp_owner(skb.cast(), near, far, config) } {
            Owner::Jail => Ok(()),
            _ => Err(Reason::PacketPeer),
        };
    }

    let httpjail = (at_localhost & (far.has_port(ports.proxy) | far.has_port(ports.resolver_tcp))).holds();
    if httpjail && config.own_mark == 0 {
        return Ok(());
    }
    let flags: u8 = ctx
        .load(packet.transport + TCP_FLAGS)
        .map_err(|_| Reason::PacketTruncated)?;
    let opening = flags & (TCP_SYN | TCP_ACK) == TCP_SYN;
    if httpjail {
        // Who listens there when httpjail is gone is not it. What comes after a SYN that passed is its connection's.
        // SAFETY: a cgroup_skb program's own context.
        let passes =
            !opening || unsafe { tcp_owner(skb.cast(), Endpoint { port: 0, ..near }, far, config) } == Owner::Httpjail;
        return if passes { Ok(()) } else { Err(Reason::PacketPeer) };
    }
    // SAFETY: a cgroup_skb program's own context.
    let owner = unsafe { tcp_owner(skb.cast(), near, far, config) };
    // SAFETY: as above.
    let passes = match owner {
        Owner::Jail | Owner::Publisher => true,
        Owner::Other | Owner::Httpjail => false,
        // A SYN onto the TIME_WAIT of an earlier connection: ask for the listener alone, which will take it. Of several that
        // share the port (SO_REUSEPORT) it may be another: its answer is not let in, so it gets nothing but the SYN, if that
        // carries nothing (TCP fast open, RFC 7413).
        Owner::Nobody if opening => {
            is_bare(ctx, packet)
                && unsafe { tcp_owner(skb.cast(), Endpoint { port: 0, ..near }, far, config) } == Owner::Jail
        }
        // The last words of a connection whose far end is closed: nobody is there to read them.
        Owner::Nobody => unsafe { tcp_gone(skb.cast(), near, far) },
    };
    if passes { Ok(()) } else { Err(Reason::PacketPeer) }
}

/// Is it a segment of a connection from outside that the policy lets in?
#[inline(always)]
fn is_inbound(
    ctx: &SkBuffContext,
    config: &JailConfig,
    packet: &Packet,
    near: Endpoint,
    far: Endpoint,
    direction: Direction,
) -> bool {
    let Ok(flags) = ctx.load::<u8>(packet.transport + TCP_FLAGS) else {
        return false;
    };
    let opening = flags & (TCP_SYN | TCP_ACK) == TCP_SYN;
    packet.protocol == IPPROTO_TCP && is_let_in(ctx, config, near, far, direction, opening)
}

/// Whether a segment has no payload.
#[inline(always)]
fn is_bare(ctx: &SkBuffContext, packet: &Packet) -> bool {
    let Ok(offset) = ctx.load::<u8>(packet.transport + TCP_OFFSET) else {
        return false;
    };
    ctx.len() as usize == packet.transport + (usize::from(offset >> 4) << 2)
}

/// Tells the resolver which server the datagram that it is about to receive was meant for. Here, not in connect or sendmsg,
/// because only the packet has its source port for sure (a connect runs before the socket is bound, net/ipv4/af_inet.c,
/// `inet_dgram_connect`). Without an entry the resolver asks nobody.
#[inline(always)]
fn remember_server(ctx: &SkBuffContext, config: &JailConfig, client: Endpoint) {
    // SAFETY: the context is alive while the program runs; each pointer is checked before it is used.
    unsafe {
        let socket = (*ctx.skb.skb).__bindgen_anon_2.sk;
        if socket.is_null() {
            return;
        }
        let socket = bpf_sk_fullsock(socket);
        if socket.is_null() {
            return;
        }
        let Some(state) = socket_state(socket, config.jail) else {
            return;
        };
        if (*state).redirected != 1 {
            return;
        }
        let key = FlowKey {
            netns: config.jail,
            address: to_address(client.address),
            port: client.port.into(),
            reserved: 0,
        };
        let asked = FlowValue {
            cgroup: (*state).cgroup,
            address: to_address((*state).destination),
            comm: to_comm((*state).comm),
            pid: (*state).pid,
            port: (*state).port.into(),
        };
        if ASKED.insert(key, asked, 0).is_err() {
            // An older entry would send the question to the wrong server.
            let _ = ASKED.remove(key);
        }
    }
}

#[inline(always)]
fn report(ctx: &SkBuffContext, config: &JailConfig, packet: &Packet, direction: Direction, reason: Reason) {
    let mut event = event(config, Caller::UNKNOWN, direction, reason);
    event.source = to_address(packet.source.address);
    event.destination = to_address(packet.destination.address);
    event.source_port = packet.source.port;
    event.destination_port = packet.destination.port;
    event.protocol = packet.protocol.into();
    // SAFETY: the context is alive while the program runs; each pointer is checked before it is used.
    unsafe {
        event.ifindex = (*ctx.skb.skb).ifindex;
        event.family = (*ctx.skb.skb).family as u16;
        // Packets are handled in anybody's context: who they belong to stands in their socket.
        let socket = (*ctx.skb.skb).__bindgen_anon_2.sk;
        if !socket.is_null() {
            let socket = bpf_sk_fullsock(socket);
            if !socket.is_null()
                && let Some(state) = socket_state(socket, config.jail)
            {
                event.cgroup = (*state).cgroup;
                event.comm = to_comm((*state).comm);
                event.pid = (*state).pid;
            }
        }
    }
    send(&event);
}
