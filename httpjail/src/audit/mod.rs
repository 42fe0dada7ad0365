//! The log of what was asked and what was decided.
//!
//! One [`Record`] goes to one [`Sink`]; [`Log`] is the sink of a real run. It writes a line to the request log (whole
//! lines, one `write(2)` each, and a failure is remembered so that the proxy can deny) and tells the person at the
//! terminal about denials, from a thread of its own so that a terminal that does not read can never hold up the proxy.
//! Whatever came from the jail is escaped here, at the last moment, by [`printable`] and by the formats.

mod color;
mod escape;
mod file;
mod format;
mod log;
mod notice;
mod rate;
mod read;
pub(crate) mod record;
mod summary;
mod terminal;

pub(crate) use color::{paint, wants_color};
pub(crate) use escape::{printable, redacted};
#[cfg(unix)]
pub(crate) use file::open_stream;
pub(crate) use file::{LogFile, open_log};
#[cfg(target_os = "linux")]
pub(crate) use file::{LogPlace, open_log_without_links};
pub(crate) use format::Format;
pub(crate) use log::{Log, Watcher};
pub(crate) use notice::{Show, StderrPolicy};
pub(crate) use read::read_line;
pub(crate) use record::{CERTIFICATE_REFUSED, Decision, EventKind, Record};
pub(crate) use summary::{Summary, SummaryForm};
pub(crate) use terminal::Terminal;

pub(crate) use rate::{Admission, Bucket};

/// Where records go. Writing is synchronous and whole lines at a time.
pub(crate) trait Sink: Send + Sync + 'static {
    /// Writes one record. Failures are remembered: see [`Sink::healthy`].
    fn record(&self, record: Record);

    /// Whether the last write succeeded. A proxy whose log cannot be written must deny (it may probe by recording the
    /// denial: success makes the sink healthy again).
    fn healthy(&self) -> bool;
}
