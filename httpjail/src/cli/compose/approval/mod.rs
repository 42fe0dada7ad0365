//! `--interactive` and `--approve-with`: who is asked about what no rule matches, and in which process.

mod decider;
#[cfg(target_os = "linux")]
mod held;
#[cfg(target_os = "linux")]
mod line;
#[cfg(target_os = "linux")]
mod process;

pub(crate) use decider::{decider, unheld};
#[cfg(target_os = "linux")]
pub(crate) use process::{Questions, start, start_unheld};
