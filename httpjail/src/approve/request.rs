//! A request that no rule matches, as the approver sees it.

use serde::{Deserialize, Serialize};

use crate::net::Ancestor;
use crate::policy::Target;

/// One request to decide about. A program of `--approve-with` reads it as JSON, so field names do not change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ApprovalRequest {
    pub method: String,
    /// The whole canonical URL.
    pub url: String,
    /// `http` or `https`.
    pub scheme: String,
    /// The host as in the URL; a name is in ASCII.
    pub host: String,
    /// The port, even if the URL leaves it out.
    pub port: u16,
    /// The path, without the query.
    pub path: String,
    /// The program that sends the request, if it is known.
    pub program: Option<Requester>,
}

/// The program that sends a request. It chooses its own names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requester {
    /// The process id on the host.
    pub pid: u32,
    pub exe: Option<String>,
    /// The thread's name.
    pub comm: String,
    /// The processes that started it, nearest first, up to the jail's first process.
    pub parents: Vec<Ancestor>,
}

impl ApprovalRequest {
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
