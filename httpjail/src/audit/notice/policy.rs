//! What of the log is told at the terminal, as whoever starts the run decides it.

/// Which records stderr gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// None (`-q`).
    Nothing,
    /// What was denied (the default). DNS questions are left out: programs ask for odd types by habit.
    Denials,
    /// Allowed requests and DNS too, none held back (`-v`).
    Everything,
}

/// What the log says on stderr.
#[derive(Debug, Clone)]
pub(crate) struct StderrPolicy {
    /// Which records.
    pub show: Show,
    /// Said once, as `hint: ...`, after the first request that was denied for want of a rule.
    pub no_rules: Option<String>,
    /// Whether the rule that would allow it is shown with the first denial for each host.
    pub suggest: bool,
    /// Whether the rule is shown that leads to an address which needs one that names the host.
    pub mend: bool,
}
