//! Why a request or a connection is refused.
//!
//! This is plain data. The errors of the floors below turn into it, and [`crate::proxy::service::render`] makes a
//! response of it.

use crate::policy::TargetError;
use std::fmt;

/// Who is at fault, which gives the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The policy says no.
    Denied,
    /// The log cannot be written.
    Unlogged,
    /// There is no room for one request more.
    Busy,
    /// The request has no one canonical reading.
    Malformed,
    /// Its head or its trailers are too large.
    TooLarge,
    /// Its parts name different places.
    Mismatch,
    /// The client did not show that it may use the proxy.
    Unauthenticated,
    /// CONNECT and what else a transparent proxy does not do.
    Unsupported,
    /// The upstream failed.
    Upstream,
    /// The upstream has sent the request back unread, more than once or too late for us to send it again.
    Unread,
    /// The upstream took too long.
    TimedOut,
}

/// A refusal: which kind, and why in words.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    /// The short stable phrase of the log.
    pub(crate) reason: &'static str,
    /// A sentence for the client.
    pub(crate) detail: String,
    /// A rule that names the host would have let it through; whether that is so for names too.
    pub(crate) names_host: Option<bool>,
}

impl Refusal {
    pub(crate) fn new(kind: Kind, reason: &'static str, detail: impl Into<String>) -> Refusal {
        Refusal {
            kind,
            reason,
            detail: detail.into(),
            names_host: None,
        }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Refusal {
        Refusal::new(Kind::Malformed, "malformed request", detail)
    }

    pub(crate) fn mismatch(detail: impl Into<String>) -> Refusal {
        Refusal::new(Kind::Mismatch, "host mismatch", detail)
    }

    /// Of a request that the server has not acted on, by its own word.
    pub(crate) fn unread() -> Refusal {
        let detail = "The server sent the request back unread: not processed; safe to repeat.";
        Refusal::new(Kind::Unread, "sent back unread", detail)
    }

    /// The same where the request was handed to another proxy: its fault, or that of what is behind it.
    pub(crate) fn on_the_way(self, parent: &impl fmt::Display) -> Refusal {
        let detail = format!(
            "On the way through the proxy {parent}, which httpjail's own environment names: {}",
            self.detail
        );
        Refusal::new(self.kind, "upstream proxy", detail)
    }
}

impl From<TargetError> for Refusal {
    fn from(error: TargetError) -> Refusal {
        Refusal::malformed(error.to_string())
    }
}
