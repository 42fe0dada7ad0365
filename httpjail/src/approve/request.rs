//! A request that no rule matches, as it is shown to who decides.

use serde::{Deserialize, Serialize};

use crate::net::Ancestor;
use crate::policy::Target;

/// One request to be decided. This is what a program of `--approve-with` reads, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ApprovalRequest {
    /// The method.
    pub method: String,
    /// The canonical URL, whole.
    pub url: String,
    /// `http` or `https`.
    pub scheme: String,
    /// The host as in the URL, a name in ASCII.
    pub host: String,
    /// The port, also where the URL leaves it out.
    pub port: u16,
    /// The path, without the query.
    pub path: String,
    /// Who asks, where that is known.
    pub program: Option<Requester>,
}

/// The program that asks. Its names are its own choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requester {
    /// Its process id, as the host counts.
    pub pid: u32,
    /// Its executable.
    pub exe: Option<String>,
    /// Its thread's name.
    pub comm: String,
    /// Who started it, nearest first, as far as the jail's first process.
    pub parents: Vec<Ancestor>,
}

impl ApprovalRequest {
    /// What is asked about `target`.
    pub(crate) fn new(target: &Target, program: Option<Requester>) -> ApprovalRequest {
        ApprovalRequest {
            method: target.method().to_string(),
            url: target.url().to_owned(),
            scheme: target.scheme().as_str().to_owned(),
            host: target.host().to_string(),
            port: target.port(),
            path: target.path().to_owned(),
            program,
        }
    }
}
