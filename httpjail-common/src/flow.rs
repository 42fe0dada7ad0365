//! A flow: the destination that a connection had before it was redirected to the proxy.

use crate::Address;

/// A thread's name in the kernel's form (`TASK_COMM_LEN` bytes, NUL-padded). The jail chooses it: escape it. Aligned for the
/// same reason as [`Address`].
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct Comm(pub [u8; 16]);

const _: () = assert!(size_of::<Comm>() == 16);

/// The jailed end of a connection: the peer address that `accept` returns to the proxy, and its network namespace.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct FlowKey {
    /// `SO_NETNS_COOKIE` of the network namespace. For datagrams the jail's id: programs that see packets can ask for the cookie
    /// only since Linux 6.15.
    pub netns: u64,
    /// The client's address.
    pub address: Address,
    /// The client's port.
    pub port: u32,
    /// Zero.
    pub reserved: u32,
}

/// The destination of the connection, and the process that opened it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct FlowValue {
    /// The id of the cgroup that the opener was in: the jail's, or one below it.
    pub cgroup: u64,
    /// The address that the program asked for.
    pub address: Address,
    /// The opener's thread name, NUL-padded.
    pub comm: Comm,
    /// The opener's process (thread group) id in the initial PID namespace.
    pub pid: u32,
    /// The port that the program asked for.
    pub port: u32,
}

const _: () = assert!(size_of::<FlowKey>() == 8 + size_of::<Address>() + 4 + 4);
const _: () = assert!(size_of::<FlowValue>() == 8 + size_of::<Address>() + size_of::<Comm>() + 4 + 4);

#[cfg(feature = "user")]
mod user {
    use super::{Comm, FlowKey, FlowValue};
    use std::net::SocketAddr;

    impl FlowKey {
        /// Returns the key of the connection whose peer is `client`, in the namespace with this cookie.
        pub fn new(netns: u64, client: SocketAddr) -> Self {
            FlowKey {
                netns,
                address: client.ip().into(),
                port: client.port().into(),
                reserved: 0,
            }
        }
    }

    impl FlowValue {
        /// Returns the original destination, or `None` for an invalid port, which the programs never write.
        pub fn destination(&self) -> Option<SocketAddr> {
            Some(SocketAddr::new(self.address.into(), u16::try_from(self.port).ok()?))
        }
    }

    impl Comm {
        /// Returns the name, lossily decoded.
        pub fn text(&self) -> String {
            let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
            String::from_utf8_lossy(&self.0[..end]).into_owned()
        }
    }
}

#[cfg(all(feature = "user", target_os = "linux"))]
mod pod {
    #![expect(
        unsafe_code,
        reason = "aya::Pod is an unsafe marker; the sizes asserted above show that there is no padding"
    )]
    // SAFETY: plain integers and byte arrays, `repr(C)`, no padding, every bit pattern valid.
    unsafe impl aya::Pod for super::FlowKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::FlowValue {}
}
