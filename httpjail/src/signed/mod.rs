//! Policies that come from elsewhere with a detached signature: keys, the signature file, and which policy may follow which.
//!
//! A fleet takes its policy from a server. Whoever holds that server, or the way to it, must not be able to change the policy, to
//! bring back an older one, or to keep an old one in force without end. So the policy's author signs its digest together with a
//! serial number and an expiry.
//!
//! Pure: the caller reads files, and says what time it is.

mod held;
mod key;
mod pem;
mod signature;
#[cfg(test)]
mod tests;
mod times;

pub(crate) use held::{Held, Taken};
pub(crate) use key::{PublicKey, SigningKey};
pub(crate) use signature::{LONGEST, Signature, Terms, digest};
pub(crate) use times::{moment, period};
