//! Where an accepted connection was meant to go, as the accepted socket itself knows.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::SockRef;

use super::ruleset::Way;
use crate::jail::sandbox::netns::{JAIL_V4, JAIL_V6};
use crate::net::{ClientAddr, Flow, OriginalDst, OriginalDstSource};

/// The connections of one proxy's listeners.
#[derive(Debug)]
pub(super) struct Accepted {
    way: Way,
    port: u16,
}

impl Accepted {
    /// Looks at a listener of the proxy: one that is transparent is reached by `tproxy`, another by `redirect`.
    ///
    /// # Errors
    /// Those of asking the socket.
    pub(super) fn by(listener: &TcpListener) -> io::Result<Self> {
        let transparent = SockRef::from(listener).ip_transparent_v4()?;
        Ok(Accepted {
            way: if transparent { Way::Tproxy } else { Way::Redirect },
            port: listener.local_addr()?.port(),
        })
    }

    /// The proxy dialled by its own address: that is nobody's destination.
    fn is_proxy(&self, address: SocketAddr) -> bool {
        address.port() == self.port
            && match address.ip() {
                IpAddr::V4(ip) => ip.is_loopback() || ip == JAIL_V4 || ip == Ipv4Addr::UNSPECIFIED,
                IpAddr::V6(ip) => ip.is_loopback() || ip == JAIL_V6 || ip == Ipv6Addr::UNSPECIFIED,
            }
    }
}

impl OriginalDstSource for Accepted {
    fn take(&self, client: ClientAddr, accepted: SockRef<'_>) -> Option<Flow> {
        let asked = match (self.way, client.0) {
            (Way::Tproxy, _) => accepted.local_addr(),
            (Way::Redirect, SocketAddr::V4(_)) => accepted.original_dst_v4(),
            (Way::Redirect, SocketAddr::V6(_)) => accepted.original_dst_v6(),
        };
        // Unknown is refused: the caller closes the connection.
        let original = asked.ok()?.as_socket()?;
        (!self.is_proxy(original)).then_some(Flow {
            original: OriginalDst(original),
            process: None,
            cgroup: None,
        })
    }
}
