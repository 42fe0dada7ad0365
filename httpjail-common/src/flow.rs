//! A flow: which destination a connection had before it was bent towards the proxy.

use crate::Address;

/// The length of a thread's name in the kernel (`TASK_COMM_LEN`), with its closing NUL.
pub const COMM_LEN: usize = 16;

/// The jailed end of a connection: exactly what `accept` tells the proxy, and the network namespace it happened in.
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

/// Where the connection was meant to go, and who opened it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct FlowValue {
    /// The id of the cgroup that the opener was in: the jail's, or one below it.
    pub cgroup: u64,
    /// The address that the program asked for.
    pub address: Address,
    /// The opener's thread name, NUL-padded.
    pub comm: [u8; COMM_LEN],
    /// The opener's process (thread group) id in the initial PID namespace.
    pub pid: u32,
    /// The port that the program asked for.
    pub port: u32,
}

const _: () = assert!(size_of::<FlowKey>() == 8 + size_of::<Address>() + 4 + 4);
const _: () = assert!(size_of::<FlowValue>() == 8 + size_of::<Address>() + COMM_LEN + 4 + 4);

#[cfg(feature = "user")]
mod user {
    use super::{COMM_LEN, FlowKey, FlowValue};
    use std::net::SocketAddr;

    impl FlowKey {
        /// The key of the connection whose far end is `client`, seen in the namespace with this cookie.
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
        /// The original destination. `None` for a port that no port can be, which the programs never write.
        pub fn destination(&self) -> Option<SocketAddr> {
            Some(SocketAddr::new(self.address.into(), u16::try_from(self.port).ok()?))
        }

        /// The opener's thread name, lossily decoded.
        pub fn comm(&self) -> String {
            comm_text(&self.comm)
        }
    }

    pub(crate) fn comm_text(comm: &[u8; COMM_LEN]) -> String {
        let end = comm.iter().position(|&byte| byte == 0).unwrap_or(COMM_LEN);
        String::from_utf8_lossy(&comm[..end]).into_owned()
    }
}

#[cfg(feature = "user")]
pub(crate) use user::comm_text;

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
