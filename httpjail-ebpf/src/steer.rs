//! The decision that connect and sendmsg share: where a call to an address really goes.

use crate::{
    ALLOW, DENY,
    endpoint::{Endpoint, ports},
    halves::{from_words, to_address},
    lookup::{Owner, tcp_owner, udp_owner},
    maps::{SocketState, armed, socket_state},
    report::{Caller, count, event, send},
    sockaddr::{self, Form},
};
use aya_ebpf::{EbpfContext, bindings::bpf_sock, helpers::generated::bpf_set_retval, programs::SockAddrContext};
use core::ptr::read_volatile;
use httpjail_common::{Direction, JailConfig, Reason, Stat};

const AF_INET6: u32 = 10;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;
const DNS: u16 = 53;
const ECONNREFUSED: i32 = 111;

/// Which call is being judged.
#[derive(Clone, Copy, PartialEq)]
pub enum Call {
    Connect,
    Send,
}

/// Lets the call pass, bends it, or refuses it and reports that.
#[inline(always)]
pub fn steer(ctx: &SockAddrContext, form: Form, call: Call) -> i32 {
    let Some(config) = armed() else { return DENY };
    let asked = sockaddr::read(ctx, form);
    match decide(ctx, config, asked, call) {
        Ok(to) => {
            sockaddr::write(ctx, form, to);
            ALLOW
        }
        Err(reason) => {
            // SAFETY: these hooks have a full socket.
            let state = unsafe { socket_state(sockaddr::socket(ctx), config.jail) };
            let caller = state.map_or_else(Caller::current, Caller::of);
            let mut event = event(config, caller, Direction::Call, reason);
            event.destination = to_address(asked.address);
            event.destination_port = asked.port;
            // SAFETY: the context is alive while the program runs.
            unsafe {
                event.protocol = (*ctx.sock_addr).protocol as u16;
                event.family = (*ctx.sock_addr).family as u16;
            }
            send(&event);
            if reason as u16 == Reason::NobodyListens as u16 {
                // SAFETY: takes a number.
                unsafe { bpf_set_retval(-ECONNREFUSED) };
            }
            DENY
        }
    }
}

#[inline(always)]
fn decide(ctx: &SockAddrContext, config: &JailConfig, asked: Endpoint, call: Call) -> Result<Endpoint, Reason> {
    // SAFETY: the context is alive while the program runs.
    let (kind, protocol) = unsafe { ((*ctx.sock_addr).type_, (*ctx.sock_addr).protocol) };
    let udp = match (kind, protocol) {
        (SOCK_STREAM, IPPROTO_TCP) => false,
        (SOCK_DGRAM, IPPROTO_UDP) => true,
        _ => return Err(Reason::Protocol),
    };
    let socket = sockaddr::socket(ctx);
    // SAFETY: these hooks have a full socket.
    let state = unsafe { socket_state(socket, config.jail) }.ok_or(Reason::ForeignSocket)?;
    let ports = ports(config, asked.is_v4);

    // The kernel would choose the address itself (ip_route_output_key_hash_rcu, tcp_v6_connect), and not always localhost:
    // say which one is meant.
    let meant = asked.or_localhost();
    let local = meant.is_local(config).holds();
    if local {
        if meant.is_localhost().holds()
            && (if udp {
                meant.port == ports.resolver_udp
            } else {
                meant.port == ports.proxy || meant.port == ports.resolver_tcp
            })
        {
            return if udp && call == Call::Send && reentered(ctx, state) {
                Ok(asked)
            } else {
                Err(Reason::OwnPort)
            };
        }
        if owner(ctx, socket, udp, meant, config) == Owner::Jail {
            count(Stat::OwnSocket);
            if call == Call::Connect {
                // SAFETY: a value of the socket's storage, alive while the program runs.
                unsafe { (*state).redirected = 0 };
            }
            return Ok(meant);
        }
    }

    let door = match (meant.port, udp, call) {
        (DNS, true, _) => ports.resolver_udp,
        (DNS, false, _) => ports.resolver_tcp,
        (_, false, _) => ports.proxy,
        (_, true, Call::Connect) => return Err(Reason::UdpConnect),
        (_, true, Call::Send) => return Err(Reason::UdpSend),
    };
    if !udp && meant.port != DNS && config.host_loopback == 0 && local {
        return Err(Reason::NobodyListens);
    }
    if door == 0 {
        return Err(Reason::NoListener);
    }
    remember(state, meant);
    count(Stat::Redirected);
    Ok(meant.localhost(door))
}

/// A connected UDP socket with a v4-mapped peer goes through sendmsg4 again with the address that connect6 wrote
/// (net/ipv6/udp.c, `udpv6_sendmsg`: "do_udp_sendmsg"). Nobody else may name the resolver's port.
#[inline(always)]
fn reentered(ctx: &SockAddrContext, state: *mut SocketState) -> bool {
    // SAFETY: context and storage are alive while the program runs.
    unsafe { (*ctx.sock_addr).family == AF_INET6 && (*state).redirected == 1 }
}

/// Does a socket of the jail receive what is sent to `to`?
#[inline(always)]
fn owner(ctx: &SockAddrContext, socket: *mut bpf_sock, udp: bool, to: Endpoint, config: &JailConfig) -> Owner {
    if udp {
        // With the real source, or a peer that is itself connected to this socket would not be found.
        let from = bound(socket, to);
        // SAFETY: a sock_addr program's own context.
        unsafe { udp_owner(ctx.as_ptr(), from, to, config) }
    } else {
        // Source port 0: a TIME_WAIT left on the 4-tuple of an earlier connection would hide the listener that will take it.
        // SAFETY: a sock_addr program's own context.
        unsafe { tcp_owner(ctx.as_ptr(), to.localhost(0), to, config) }
    }
}

/// Where the socket is bound; localhost where that is left open.
#[inline(always)]
fn bound(socket: *mut bpf_sock, to: Endpoint) -> Endpoint {
    // SAFETY: these hooks have a full socket; constant indices, read before any branch.
    let (v4, v6, port) = unsafe {
        (
            read_volatile(&raw const (*socket).src_ip4),
            [
                read_volatile(&raw const (*socket).src_ip6[0]),
                read_volatile(&raw const (*socket).src_ip6[1]),
                read_volatile(&raw const (*socket).src_ip6[2]),
                read_volatile(&raw const (*socket).src_ip6[3]),
            ],
            read_volatile(&raw const (*socket).src_port) as u16,
        )
    };
    Endpoint::of_family(to.is_v4, v4, from_words(v6), port).or_localhost()
}

#[inline(always)]
fn remember(state: *mut SocketState, destination: Endpoint) {
    let caller = Caller::of(state);
    // SAFETY: a value of the socket's storage, alive while the program runs. Two threads that connect one socket at once may
    // mix their destinations; both are the jail's own words.
    unsafe {
        (*state).cgroup = caller.cgroup;
        (*state).destination = destination.address;
        (*state).comm = caller.comm;
        (*state).pid = caller.pid;
        (*state).port = destination.port;
        (*state).redirected = 1;
    }
}

/// Shows the program the address that it asked for, where the kernel is about to show httpjail's own. The kernel allows
/// these hooks no answer but 1 (kernel/bpf/verifier.c, `check_return_code`); at worst the real address stays.
#[inline(always)]
pub fn unsteer(ctx: &SockAddrContext, form: Form, datagram: bool) -> i32 {
    let Some(config) = armed() else { return ALLOW };
    let shown = sockaddr::read(ctx, form);
    let ports = ports(config, shown.is_v4);
    let ours = shown.port == ports.resolver_udp
        || (!datagram && (shown.port == ports.proxy || shown.port == ports.resolver_tcp));
    if !ours || !shown.is_localhost().holds() {
        return ALLOW;
    }
    // SAFETY: these hooks have a full socket.
    let Some(state) = (unsafe { socket_state(sockaddr::socket(ctx), config.jail) }) else {
        return ALLOW;
    };
    // SAFETY: a value of the socket's storage, alive while the program runs.
    let (redirected, asked) = unsafe { ((*state).redirected, Endpoint::new((*state).destination, (*state).port)) };
    // One socket may have asked over IPv4 and IPv6: only the last is remembered, and only its own family is rewritten.
    if redirected == 1 && !(asked.is_v4 ^ shown.is_v4).holds() {
        sockaddr::write(ctx, form, asked);
    }
    ALLOW
}
