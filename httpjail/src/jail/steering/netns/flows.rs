//! The original destination of an accepted connection, which the accepted socket itself knows.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::SockRef;

use super::ruleset::Way;
use super::tables::Tables;
use crate::jail::sandbox::network::{JAIL_V4, JAIL_V6};
use crate::net::{ClientAddr, Flow, Opener, OriginalDst, OriginalDstSource};

/// The connections of one proxy's listeners.
#[derive(Debug)]
pub(super) struct Accepted {
    way: Way,
    port: u16,
    /// Tell who connected.
    tables: Option<Tables>,
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
            tables: None,
        })
    }

    /// The same, with the socket tables of the listener's network namespace.
    pub(super) fn asking(self, tables: Option<Tables>) -> Self {
        Accepted { tables, ..self }
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
        if self.is_proxy(original) {
            return None;
        }
        // While the program waits for what we answer it has the socket open, or another one that has it from there.
        let tables = self.tables.as_ref();
        let socket = tables.and_then(|tables| tables.connection(client.0, original));
        Some(Flow {
            original: OriginalDst(original),
            opener: socket.map(Opener::Socket),
            cgroup: None,
        })
    }
}
