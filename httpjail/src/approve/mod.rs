//! Asks a person at the terminal, or a program, about a request that no rule matches.
//!
//! An approval is one more rule, for this request or for the rest of the run. The [`ApprovalQueue`] belongs to the proxy
//! process. It joins identical requests, limits how many wait, and remembers decisions for the run. An
//! [`Approver`](approver::Approver) decides: [`ApproverProgram`] runs a program; [`ApproverClient`] asks another process,
//! which has the caller's rights and runs the program or holds the terminal ([`terminal`]). Every error is a denial.

mod approver;
#[cfg(unix)]
mod client;
mod decision;
mod grant;
mod program;
#[cfg(unix)]
mod protocol;
mod queue;
mod request;
#[cfg(unix)]
mod server;
#[cfg(target_os = "linux")]
pub(crate) mod terminal;

#[cfg(target_os = "linux")]
pub(crate) use client::ApproverClient;
pub(crate) use program::ApproverProgram;
pub(crate) use queue::{ApprovalOutcome, ApprovalQueue};
pub(crate) use request::{ApprovalRequest, Requester};
#[cfg(target_os = "linux")]
pub(crate) use server::serve;

#[cfg(test)]
mod tests;
