//! Which records are reported at the terminal, and with which hints.

/// Which records are reported on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// None (`-q`).
    Nothing,
    /// Denials (the default), but not DNS questions: programs ask for unusual types by habit.
    Denials,
    /// Allowed requests and DNS too, without a rate limit (`-v`).
    Everything,
}

/// What is reported on stderr.
#[derive(Debug, Clone)]
pub(crate) struct StderrPolicy {
    /// Which records.
    pub show: Show,
    /// Printed once, as `hint: ...`, after the first request that was denied because no rule matched.
    pub no_rules: Option<String>,
    /// Whether the first denial for each host shows the rule that would allow it.
    pub suggest: bool,
    /// Whether a denial because of an address shows the rule that it needs, which names the host.
    pub mend: bool,
}
