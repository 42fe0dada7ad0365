//! What an upstream connection is opened for.

use crate::net::Host;
use crate::proxy::protocol::Wire;
use crate::proxy::upstream::address::Vouch;
use std::net::IpAddr;

/// What a connection was opened for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) wire: Wire,
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// The address that the client chose among those of the host; nothing where it chose none.
    pub(crate) address: Option<IpAddr>,
    pub(crate) vouch: Vouch,
}

impl Key {
    pub(crate) fn goal(&self) -> Goal<'_> {
        Goal {
            host: &self.host,
            port: self.port,
            vouch: self.vouch,
            preferred: self.address,
        }
    }
}

/// What is to be dialled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal<'a> {
    pub(crate) host: &'a Host,
    pub(crate) port: u16,
    /// How far the verdict vouches for the addresses of `host`.
    pub(crate) vouch: Vouch,
    /// Where the client wanted to go: tried first if `host` has it.
    pub(crate) preferred: Option<IpAddr>,
}
