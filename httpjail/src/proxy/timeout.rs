//! The reasons for which a connection ends before it has sent a whole request.

use std::time::Duration;

/// What a client is silent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not one byte has come.
    FirstByte,
    /// A TLS handshake.
    Handshake,
    /// A request's head, or the wait for it.
    Head,
}

/// Why a connection ends before there is a whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Late {
    pub(crate) phase: Phase,
    limit: Duration,
    /// Whether it is all of the time that is over, and not a silence.
    in_all: bool,
}

impl Late {
    /// A silence of `limit`.
    pub(crate) fn silent(phase: Phase, limit: Duration) -> Late {
        Late {
            phase,
            limit,
            in_all: false,
        }
    }

    /// No end within `limit`.
    pub(crate) fn in_all(limit: Duration) -> Late {
        Late {
            phase: Phase::Head,
            limit,
            in_all: true,
        }
    }

    /// What the log is told, with the key that sets the limit.
    pub(crate) fn reason(self) -> String {
        let seconds = self.limit.as_secs_f64();
        match self.phase {
            _ if self.in_all => format!("no whole request within {seconds} s (limits: arrival-timeout)"),
            Phase::FirstByte => format!("nothing was said for {seconds} s (limits: silence-timeout)"),
            Phase::Handshake => {
                format!("silent for {seconds} s in the TLS handshake (limits: handshake-timeout)")
            }
            Phase::Head => format!("silent for {seconds} s before a whole request (limits: header-timeout)"),
        }
    }
}
