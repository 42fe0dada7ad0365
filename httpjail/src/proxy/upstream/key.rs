//! What an upstream connection is opened for.

use crate::net::Host;
use crate::proxy::protocol::UpstreamProtocol;
use crate::proxy::upstream::address::AddressTrust;
use std::net::IpAddr;

/// What a connection was opened for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    pub(crate) protocol: UpstreamProtocol,
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// The address that the client chose among those of the host, if it chose one.
    pub(crate) address: Option<IpAddr>,
    pub(crate) trust: AddressTrust,
}

impl PoolKey {
    pub(crate) fn connect_target(&self) -> ConnectTarget<'_> {
        ConnectTarget {
            host: &self.host,
            port: self.port,
            trust: self.trust,
            preferred: self.address,
        }
    }
}

/// What to connect to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectTarget<'a> {
    pub(crate) host: &'a Host,
    pub(crate) port: u16,
    /// How far the verdict vouches for the addresses of `host`.
    pub(crate) trust: AddressTrust,
    /// Where the client wanted to go: tried first if `host` has it.
    pub(crate) preferred: Option<IpAddr>,
}
