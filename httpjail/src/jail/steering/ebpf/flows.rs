//! The original destination of a connection or of a datagram to the resolver: reads the maps FLOWS and ASKED.

use super::BpfError;
use crate::net::{AskedServerSource, ClientAddr, Flow, Opener, OriginalDst, OriginalDstSource, Process};
use crate::sys::bpf::Map;
use httpjail_common::{Address, FlowKey, FlowValue, MAP_ASKED, MAP_FLOWS};
use socket2::SockRef;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The flows of one network namespace. Needs nothing but the descriptor: the proxy's process reads it without any right.
#[derive(Debug)]
pub(crate) struct Flows {
    map: Map<FlowKey, FlowValue>,
    netns_cookie: u64,
}

impl Flows {
    /// Takes the descriptor of the FLOWS map, and the cookie of the namespace in which the proxy listens.
    ///
    /// # Errors
    /// If it is not that map.
    pub(crate) fn from_fd(fd: OwnedFd, netns_cookie: u64) -> Result<Self, BpfError> {
        let map = Map::new(fd).map_err(|source| BpfError::Access {
            operation: "open",
            map: MAP_FLOWS,
            source,
        })?;
        Ok(Flows { map, netns_cookie })
    }

    /// Can this process, as it is now, read flows? Before Linux 5.19 a process without CAP_BPF cannot where unprivileged BPF is
    /// off. Ask after dropping rights.
    ///
    /// # Errors
    /// EPERM if not.
    pub(crate) fn probe_unprivileged(&self) -> Result<(), BpfError> {
        // No connection has this key: port 0.
        let nobody = FlowKey {
            netns: self.netns_cookie,
            address: Address::UNSPECIFIED,
            port: 0,
            reserved: 0,
        };
        self.map.take(&nobody).map(drop).map_err(|source| BpfError::Access {
            operation: "read",
            map: MAP_FLOWS,
            source,
        })
    }
}

impl OriginalDstSource for Flows {
    fn take(&self, client: ClientAddr, _accepted: SockRef<'_>) -> Option<Flow> {
        let value = match self.map.take(&FlowKey::new(self.netns_cookie, client.0)) {
            Ok(value) => value?,
            Err(error) => {
                // Unknown is refused: the caller closes the connection.
                tracing::error!(%error, "cannot read the map {MAP_FLOWS}");
                return None;
            }
        };
        Some(Flow {
            original: OriginalDst(value.destination()?),
            opener: Some(Opener::Process(Process {
                pid: value.pid,
                comm: value.comm.text(),
            })),
            cgroup: Some(value.cgroup),
        })
    }
}

impl AsFd for Flows {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// The name servers that one jail's datagrams were meant for. Needs nothing but the descriptor, as [`Flows`].
#[derive(Debug)]
pub(crate) struct Asked {
    map: Map<FlowKey, FlowValue>,
    jail: u64,
}

impl Asked {
    /// Takes the descriptor of the ASKED map.
    ///
    /// # Errors
    /// If it is not that map.
    pub(crate) fn from_fd(fd: OwnedFd, jail: u64) -> Result<Self, BpfError> {
        let map = Map::new(fd).map_err(|source| BpfError::Access {
            operation: "open",
            map: MAP_ASKED,
            source,
        })?;
        Ok(Asked { map, jail })
    }
}

impl AskedServerSource for Asked {
    fn asked(&self, client: ClientAddr) -> Option<OriginalDst> {
        // Read, not taken: a client sends its questions for A and AAAA from one socket.
        match self.map.lookup(&FlowKey::new(self.jail, client.0)) {
            Ok(value) => value?.destination().map(OriginalDst),
            Err(error) => {
                tracing::error!(%error, "cannot read the map {MAP_ASKED}");
                None
            }
        }
    }
}
