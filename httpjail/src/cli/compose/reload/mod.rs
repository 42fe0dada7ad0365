//! The policy file while it is in force: read anew when it has changed, if those whom it is about cannot write it.
//!
//! It is looked at by its path, once a second, so that it does not matter how an editor replaces it. Something new is taken
//! when it has stayed the same from one look to the next, for a rule that is half written can allow more than the whole.

mod in_force;
mod keep;
mod rights;
mod watcher;

pub(crate) use in_force::InForce;
pub(crate) use keep::keep;
pub(crate) use rights::{Own, Rights};
pub(crate) use watcher::Watcher;

#[cfg(all(test, target_os = "linux"))]
mod tests;
