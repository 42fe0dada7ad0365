//! The jail's resolver. With `--dns synthetic` it answers every question by itself, and nothing leaves the host.
//!
//! A and AAAA get an address made up for the name ([`SyntheticAddresses`]); the proxy resolves the name, and only once a request that
//! the rules allow asks for it. The made-up address leads back to the name where TLS has no SNI. Everything else gets an
//! empty answer: a question whose labels carry data ends here, and so does one of a type made to carry data.
//! [`answer`] is the pure core; [`serve()`] gives it sockets. Ordinary questions are not recorded (the request that
//! follows will be), odd ones are, a few a second at most. [`Relay`] is the other way, for those who ask for it.

mod datagram;
mod message;
mod relay;
mod serve;
mod synthetic;
#[cfg(test)]
mod tests;

pub(crate) use relay::{Relay, Servers};
pub(crate) use serve::{Answers, serve};
pub(crate) use synthetic::SyntheticAddresses;
