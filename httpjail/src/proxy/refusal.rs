//! Why a request or a connection is refused.
//!
//! This is plain data. The errors of the floors below turn into it, and [`crate::proxy::service::render`] makes a
//! response of it.

use crate::policy::TargetError;
use std::fmt;

/// What is at fault. The status follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The policy says no.
    Denied,
    /// The log cannot be written.
    Unlogged,
    /// There are too many requests.
    Busy,
    /// The request can be read in more than one way, or in none.
    Malformed,
    /// Its head or its trailers are too large.
    TooLarge,
    /// Its parts name different hosts or ports.
    Mismatch,
    /// The client did not show that it may use the proxy.
    Unauthenticated,
    /// CONNECT, and anything else that a transparent proxy does not do.
    Unsupported,
    /// The upstream failed.
    Upstream,
    /// The upstream has sent the request back unread, more than once or too late to send it again.
    Unread,
    /// The upstream took too long.
    TimedOut,
}

/// A refusal: its kind, and the reason in words.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    /// The short stable phrase of the log.
    pub(crate) reason: &'static str,
    /// A sentence for the client.
    pub(crate) detail: String,
    /// Set if a rule that names the host would have let it through; whether that is so for names too.
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

    /// Refuses a request that the server has not acted on, as it said itself.
    pub(crate) fn unread() -> Refusal {
        let detail = "The server sent the request back unread: not processed; safe to repeat.";
        Refusal::new(Kind::Unread, "sent back unread", detail)
    }

    /// Returns the same refusal for a request that went to another proxy: that proxy failed, or what is behind it.
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
