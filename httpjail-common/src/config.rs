//! What the programs must know about a jail. All zeroes, the kernel's initial value, deny everything.

use crate::Address;

/// The ports of httpjail's own sockets on the loopback address of one family. 0 means that there is no such socket; traffic
/// to it is denied.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug, Default))]
pub struct Ports {
    /// The proxy's TCP listener.
    pub proxy: u16,
    /// The resolver's UDP socket.
    pub resolver_udp: u16,
    /// The resolver's TCP listener.
    pub resolver_tcp: u16,
    /// Zero.
    pub reserved: u16,
}

/// One jail. The supervisor writes it after attaching, and every program reads it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct JailConfig {
    /// The jail's id: the id of its cgroup.
    pub jail: u64,
    /// An IPv4 address of the jail itself besides 127/8, or [`Address::UNSPECIFIED`].
    pub own_v4: Address,
    /// An IPv6 address of the jail itself besides `::1`, or [`Address::UNSPECIFIED`].
    pub own_v6: Address,
    /// 1 after the jail is armed. With any other value every program denies.
    pub armed: u32,
    /// The index of `lo` in the jail's network namespace; no packet may use another interface.
    pub ifindex: u32,
    /// `SO_MARK` of httpjail's own sockets that speak to the jail's listeners (`--publish`); 0 if there are none. Setting a mark
    /// needs CAP_NET_ADMIN over the namespace, which no process in the jail has.
    pub publish_mark: u32,
    /// 1 if the resolver needs the server to which a datagram was sent (`--dns open`).
    pub dns_open: u32,
    /// 1 if a rule leads to servers on the host's loopback: then a loopback port on which no process in the jail listens goes to
    /// the proxy. Otherwise such a connect fails with ECONNREFUSED, as usual: programs that wait for their own server rely
    /// on that.
    pub host_loopback: u32,
    /// `SO_MARK` of httpjail's own listeners and resolver if other processes share the network namespace (`attach`): if httpjail is
    /// killed, another process can bind to its ports. 0 if the ports are enough.
    pub own_mark: u32,
    /// 1 if the map of inbound connections has entries.
    pub inbound: u32,
    /// Zero.
    pub reserved: u32,
    /// httpjail's sockets on 127.0.0.1.
    pub v4: Ports,
    /// httpjail's sockets on `::1`.
    pub v6: Ports,
}

const _: () = assert!(size_of::<Ports>() == 4 * 2);
const _: () = assert!(size_of::<JailConfig>() == 8 + 2 * size_of::<Address>() + 8 * 4 + 2 * size_of::<Ports>());

#[cfg(feature = "user")]
impl JailConfig {
    /// The configuration that denies everything: a cgroup has it until another one is written.
    pub const DENY_ALL: JailConfig = JailConfig {
        jail: 0,
        own_v4: Address::UNSPECIFIED,
        own_v6: Address::UNSPECIFIED,
        armed: 0,
        ifindex: 0,
        publish_mark: 0,
        dns_open: 0,
        host_loopback: 0,
        own_mark: 0,
        inbound: 0,
        reserved: 0,
        v4: Ports {
            proxy: 0,
            resolver_udp: 0,
            resolver_tcp: 0,
            reserved: 0,
        },
        v6: Ports {
            proxy: 0,
            resolver_udp: 0,
            resolver_tcp: 0,
            reserved: 0,
        },
    };
}

#[cfg(all(feature = "user", target_os = "linux"))]
#[expect(
    unsafe_code,
    reason = "aya::Pod is an unsafe marker; the sizes asserted above show that there is no padding"
)]
// SAFETY: plain integers and byte arrays, `repr(C)`, no padding, every bit pattern valid.
unsafe impl aya::Pod for JailConfig {}
