//! Reloads the policy file while it is in force, if the command that it judges cannot write it.
//!
//! httpjail looks at the file by its path once a second, so it does not matter how an editor replaces it. It reloads a change that
//! has stayed the same from one look to the next: a rule that is half written can allow more than the whole one.

mod history;
mod in_force;
mod keep;
mod rights;
mod watcher;

pub(crate) use in_force::InForce;
pub(crate) use keep::{Demand, keep};
pub(crate) use rights::{Own, Rights};
pub(crate) use watcher::Watcher;

#[cfg(all(test, target_os = "linux"))]
mod tests;
