//! Logs what was requested and what was decided.
//!
//! Each [`Record`] goes to a [`Sink`]. [`Log`] is the sink of a real run. It writes a line to the request log, with one
//! `write(2)` for a whole line, and remembers a failure so that the proxy can deny. It also reports denials at the terminal, from
//! a thread of its own, so that a terminal that does not read never blocks the proxy. Text from the jail is escaped here, when
//! it is written, by [`printable`] and by the formats.

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
pub(crate) use file::{LogLocation, open_log_without_links};
pub(crate) use format::{Format, Marks};
pub(crate) use log::{Log, Watcher};
pub(crate) use notice::{Show, StderrPolicy};
pub(crate) use read::read_line;
pub(crate) use record::{CERTIFICATE_REFUSED, Decision, EventKind, Record};
pub(crate) use summary::{Summary, SummaryForm};
pub(crate) use terminal::Terminal;

pub(crate) use rate::{Admission, Bucket};

/// Takes records. Writing is synchronous, in whole lines.
pub(crate) trait Sink: Send + Sync + 'static {
    /// Writes one record. A failure is remembered: see [`Sink::healthy`].
    fn record(&self, record: Record);

    /// Returns true if the last write succeeded. The proxy must deny while the log cannot be written. It records the denial, and
    /// when that succeeds the sink is healthy again.
    fn healthy(&self) -> bool;
}
