//! Why bytes of a request are refused.

use crate::proxy::refusal::{Kind, Refusal};

/// Why bytes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A line ends without CR, or is no line of its kind: the request line, a field, a chunk's.
    BareLineFeed,
    StartLine,
    Method,
    RequestTarget,
    Version,
    Field,
    FieldValue,
    Folded,
    LookAlike,
    Length,
    TwoLengths,
    TwoHosts,
    Coding,
    TraceBody,
    TooLarge,
    Chunk,
    Extension,
    Trailer,
    /// The connection ended before the body did.
    CutShort,
}

impl Fault {
    /// The same without what all have in common.
    pub(crate) fn words(self) -> &'static str {
        let reason = self.reason();
        reason.split_once(": ").map_or(reason, |(_, words)| words)
    }

    /// Returns whether it is in the bytes themselves, and not that no more came.
    pub(crate) fn is_malformed(self) -> bool {
        self != Fault::CutShort
    }

    /// What the log is told.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Fault::BareLineFeed => "malformed request: bare line feed",
            Fault::StartLine => "malformed request: request line",
            Fault::Method => "malformed request: method",
            Fault::RequestTarget => "malformed request: request target",
            Fault::Version => "malformed request: version",
            Fault::Field => "malformed request: field name",
            Fault::FieldValue => "malformed request: control character in a field",
            Fault::Folded => "malformed request: folded field",
            Fault::LookAlike => "malformed request: field that looks like another",
            Fault::Length => "malformed request: content length",
            Fault::TwoLengths => "malformed request: two lengths",
            Fault::TwoHosts => "malformed request: two hosts",
            Fault::Coding => "malformed request: transfer encoding",
            Fault::TraceBody => "malformed request: trace with a body",
            Fault::TooLarge => "malformed request: too large",
            Fault::Chunk => "malformed request: chunk",
            Fault::Extension => "malformed request: chunk extension",
            Fault::Trailer => "malformed request: trailer",
            Fault::CutShort => "request cut short",
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        let kind = match fault {
            Fault::TooLarge => Kind::TooLarge,
            _ => Kind::Malformed,
        };
        Refusal::new(
            kind,
            fault.reason(),
            format!("The bytes of the request: {}.", fault.words()),
        )
    }
}
