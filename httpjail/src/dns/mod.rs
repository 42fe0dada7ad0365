//! The jail's resolver. With `--dns synthetic` it answers every question itself, and nothing leaves the host.
//!
//! Questions for A and AAAA get an address that is made up for the name ([`SyntheticAddresses`]). The proxy resolves the name itself
//! when an allowed request needs it. If TLS has no SNI, the synthetic address leads back to the name. Other questions get an
//! empty answer. So data in a question's labels, or in a type that is made to carry data, ends here. The module `message` does no
//! I/O; [`serve()`] gives it sockets. Ordinary questions are not recorded, because the request that follows is. Unusual ones are
//! recorded, a few a second at most. [`Relay`] asks real servers instead (`--dns relay` and `open`).
//! [`StubResolver`] is no part of that: by it the proxy resolves judged names in a container's network.

mod datagram;
mod message;
mod network;
mod relay;
mod resolv_conf;
mod serve;
mod stub;
mod synthetic;
#[cfg(test)]
mod tests;

#[cfg(target_os = "linux")]
pub(crate) use network::Network;
#[cfg(target_os = "linux")]
pub(crate) use relay::{Configured, Relay, Servers};
#[cfg(target_os = "linux")]
pub(crate) use serve::{Answers, serve};
#[cfg(target_os = "linux")]
pub(crate) use stub::{Families, StubResolver};
#[cfg(target_os = "linux")]
pub(crate) use synthetic::SyntheticAddresses;
