//! The log of what was asked and what was decided.

pub mod record;

pub use record::{Decision, EventKind, Record};

/// Where records go. Writing is synchronous and whole lines at a time.
pub trait Sink: Send + Sync + 'static {
    /// Writes one record. Failures are remembered: see [`Sink::healthy`].
    fn record(&self, record: Record);

    /// Whether the last write succeeded. A proxy whose log cannot be written must deny (it may probe by recording the
    /// denial: success makes the sink healthy again).
    fn healthy(&self) -> bool;
}
