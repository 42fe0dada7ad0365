//! A socket's birth and its options.
//!
//! Only TCP and UDP over IPv4 and IPv6 come to life in a jail, and each is marked as the jail's: that mark is how the other
//! programs know their own sockets from everybody else's. Sockets that the kernel makes for itself do not pass here
//! (net/ipv4/af_inet.c, `inet_create`: `if (!kern)`).

use crate::{
    ALLOW, DENY,
    maps::{armed, socket_state_or_new},
    report::{Caller, event, send},
};
use aya_ebpf::{
    helpers::generated::bpf_set_retval,
    macros::{cgroup_sock, cgroup_sockopt},
    programs::{SockContext, SockoptContext},
};
use httpjail_common::{Direction, JailConfig, Reason};

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;
const IPPROTO_MPTCP: u32 = 262;
const EPROTONOSUPPORT: i32 = 93;

/// Lets TCP and UDP sockets be made, and marks them.
#[cgroup_sock(sock_create)]
pub fn sock_create(ctx: SockContext) -> i32 {
    let Some(config) = armed() else { return DENY };
    // SAFETY: the context is alive while the program runs.
    let (family, kind, protocol) = unsafe { ((*ctx.sock).family, (*ctx.sock).type_, (*ctx.sock).protocol) };
    let known = matches!((kind, protocol), (SOCK_STREAM, IPPROTO_TCP) | (SOCK_DGRAM, IPPROTO_UDP));
    if !known || (family != AF_INET && family != AF_INET6) {
        if protocol == IPPROTO_MPTCP {
            // Programs that try MPTCP fall back to TCP on this error (Go does), and on EPERM give up.
            // SAFETY: takes a number.
            unsafe { bpf_set_retval(-EPROTONOSUPPORT) };
        }
        return refuse(config, Reason::Protocol, family, protocol, 0);
    }
    let caller = Caller::current();
    // SAFETY: a full socket, just made.
    let Some(state) = (unsafe { socket_state_or_new(ctx.sock) }) else {
        return refuse(config, Reason::NoMemory, family, protocol, 0);
    };
    // SAFETY: a value of the socket's storage, alive while the program runs.
    unsafe {
        (*state).jail = config.jail;
        (*state).cgroup = caller.cgroup;
        (*state).comm = caller.comm;
        (*state).pid = caller.pid;
    }
    ALLOW
}

/// Refuses the options that choose an interface, put bytes into headers, or make the kernel itself send packets (IGMP and
/// MLD reports, which no egress program sees). The egress program would stop most of these too; here the program is told.
///
/// The others pass before there is a configuration, too: nothing leaves then, and an OCI runtime sets some on sockets of its own
/// between a container's cgroup and its process.
#[cgroup_sockopt(setsockopt)]
pub fn setsockopt(ctx: SockoptContext) -> i32 {
    // SAFETY: the context is alive while the program runs.
    let (level, name, len) = unsafe { ((*ctx.sockopt).level, (*ctx.sockopt).optname, (*ctx.sockopt).optlen) };
    if dangerous(level, name) {
        let Some(config) = armed() else { return DENY };
        let option = (level as u32) << 16 | (name as u32 & 0xffff);
        return refuse(config, Reason::SocketOption, 0, 0, option);
    }
    if len > 4096 {
        // The kernel copied only a page for us; 0 tells it to go on with the caller's own buffer, where leaving the length
        // would make it fail with EFAULT (Documentation/bpf/prog_cgroup_sockopt.rst).
        // SAFETY: the context is alive while the program runs.
        unsafe { (*ctx.sockopt).optlen = 0 };
    }
    ALLOW
}

#[inline(always)]
fn dangerous(level: i32, name: i32) -> bool {
    const SOL_IP: i32 = 0;
    const SOL_SOCKET: i32 = 1;
    const SOL_TCP: i32 = 6;
    const SOL_IPV6: i32 = 41;
    match level {
        SOL_SOCKET => matches!(
            name,
            25      // SO_BINDTODEVICE
            | 62 // SO_BINDTOIFINDEX
        ),
        SOL_IP => matches!(
            name,
            3           // IP_HDRINCL
            | 4         // IP_OPTIONS: source routes
            | 7         // IP_RETOPTS
            | 16 | 17   // IP_IPSEC_POLICY, IP_XFRM_POLICY
            | 19        // IP_TRANSPARENT
            | 35
                ..=48   // joins, leaves and source filters of multicast groups: IGMP
            | 50 // IP_UNICAST_IF
        ),
        SOL_IPV6 => matches!(
            name,
            6               // IPV6_2292PKTOPTIONS: extension headers
            | 17            // IPV6_MULTICAST_IF
            | 20 | 21       // IPV6_ADD_MEMBERSHIP, IPV6_DROP_MEMBERSHIP: MLD
            | 27 | 28       // IPV6_JOIN_ANYCAST, IPV6_LEAVE_ANYCAST
            | 32            // IPV6_FLOWLABEL_MGR: a label may carry extension headers
            | 34 | 35       // IPV6_IPSEC_POLICY, IPV6_XFRM_POLICY
            | 36            // IPV6_HDRINCL
            | 42
                ..=48       // MCAST_*: MLD
            | 50            // IPV6_PKTINFO: chooses an interface
            | 54 | 55       // IPV6_HOPOPTS, IPV6_RTHDRDSTOPTS
            | 57            // IPV6_RTHDR
            | 59            // IPV6_DSTOPTS
            | 75            // IPV6_TRANSPARENT
            | 76 // IPV6_UNICAST_IF
        ),
        // TCP_REPAIR makes an established connection out of nothing: no connect hook runs.
        SOL_TCP => name == 19,
        _ => false,
    }
}

#[inline(always)]
fn refuse(config: &JailConfig, reason: Reason, family: u32, protocol: u32, option: u32) -> i32 {
    let mut event = event(config, Caller::current(), Direction::Call, reason);
    event.family = family as u16;
    event.protocol = protocol as u16;
    event.option = option;
    send(&event);
    DENY
}
