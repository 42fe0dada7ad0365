//! The trie of peers that may connect to the jail from outside (`attach --inbound`).

use super::BpfError;
use crate::net::Inbound;
use crate::sys::bpf::Map;
use httpjail_common::{Address, INBOUND_V4, MAP_INBOUND, inbound_key};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

/// The peers that are let in, once the configuration says that there are any.
#[derive(Debug)]
pub(crate) struct Peers(Map<[u32; 6], u32>);

impl Peers {
    pub(super) fn from_fd(fd: OwnedFd) -> Result<Self, BpfError> {
        Map::new(fd).map(Peers).map_err(|source| access("open", source))
    }

    /// Lets these peers connect.
    ///
    /// # Errors
    /// ENOSPC for more than [`httpjail_common::INBOUND_MAX`].
    pub(crate) fn let_in(&self, inbound: &Inbound) -> Result<(), BpfError> {
        let (family, of_address) = match inbound.network {
            IpAddr::V4(_) => (INBOUND_V4, 96),
            IpAddr::V6(_) => (0, 0),
        };
        let bits = 32 + of_address + u32::from(inbound.bits);
        let key = inbound_key(bits, inbound.port, family, Address::from(inbound.network).words());
        self.0.update(&key, &1).map_err(|source| access("write", source))
    }
}

fn access(operation: &'static str, source: io::Error) -> BpfError {
    BpfError::Access {
        operation,
        map: MAP_INBOUND,
        source,
    }
}
