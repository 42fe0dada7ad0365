//! What one line of the log says. One record a request, written when its last byte has gone; one for each other attempt.
//!
//! Everything in it that came from the jail is raw here and is escaped by the formats, never by the one who records.

use std::net::SocketAddr;

use crate::net::{Ancestor, Holder, is_made_up};

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// The jail is armed and the command is about to start. Its failing to be written stops the run.
    Start,
    /// An HTTP request was judged.
    Request,
    /// A connection that is not HTTP, or that could not be understood, was refused.
    Refused,
    /// A program opened a connection, asked for nothing, and closed it (or left it unused for long): programs race the
    /// addresses of a host, and open spare connections. Nothing was decided.
    Unused,
    /// A connection was closed on which nothing at all was said: its program waits for the server to speak first, which HTTP
    /// has not, or opened it too early. Nothing was decided.
    Silent,
    /// A packet or a socket was stopped in the kernel (UDP, raw, multicast, ...).
    Blocked,
    /// The kernel refused what programs ordinarily try and do without: giving a UDP socket a peer (name look-ups do that to
    /// sort addresses, RFC 6724, and send nothing; so does a QUIC client before it sends), or connecting to a loopback port
    /// on which nobody in the jail listens yet.
    Probe,
    /// A DNS question was answered or refused.
    Dns,
    /// The policy file changed, and was taken or not.
    Reload,
    /// The command ended.
    End,
}

/// Which way the decision went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It was let through.
    Allow,
    /// It was refused.
    Deny,
}

/// The reason of a request that was denied because no rule is about it.
pub(crate) const NO_RULE_MATCHED: &str = "no rule matched";
/// The reason of a request that was denied by a deny rule.
pub(crate) const DENIED_BY_RULE: &str = "denied by rule";

/// The reason of a connection on which something else was spoken; what that is may follow, behind a colon.
pub(crate) const NOT_HTTP: &str = "not http";
/// The reason of a connection to a loopback port on which a program of the host listens.
pub(crate) const SERVICE_OF_HOST: &str = "a service of this host";
/// The reason of a connection whose client does not accept our certificate.
pub(crate) const CERTIFICATE_REFUSED: &str = "client refused our certificate";

/// One line of the log. Fields that do not apply are `None` and left out.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// What happened.
    pub event: EventKind,
    /// How it was decided; `None` where nothing was.
    pub verdict: Option<Decision>,
    /// The request's method, as received.
    pub method: Option<String>,
    /// The canonical URL (or, for what could not be made canonical, the escaped original).
    pub url: Option<String>,
    /// The canonical host.
    pub host: Option<String>,
    /// Where the program wanted to connect.
    pub dst: Option<SocketAddr>,
    /// The status code that the client received.
    pub status: Option<u16>,
    /// The rule that decided, as typed (`allow-get: ^https://...`).
    pub rule: Option<String>,
    /// Why, in a short stable phrase (`no rule matched`, `not http`, `certificate`, ...).
    pub reason: Option<String>,
    /// Process id in the supervisor's PID namespace.
    pub pid: Option<u32>,
    /// The executable's path.
    pub exe: Option<String>,
    /// The thread's name.
    pub comm: Option<String>,
    /// The command line, its arguments separated by spaces; cut where it is long.
    pub cmdline: Option<String>,
    /// Who started the process, nearest first.
    pub parents: Vec<Ancestor>,
    /// The id of the jail's cgroup, or of the process's where the jail has none.
    pub cgroup: Option<u64>,
    /// `false` where a request that was allowed did not come to its proper end; the reason tells why.
    pub complete: Option<bool>,
    /// What went wrong with a request after it was let through, in words. The verdict stands beside it, as does the verdict's reason.
    pub failure: Option<String>,
    /// Request body bytes that went upstream.
    pub bytes_in: Option<u64>,
    /// Response body bytes that went to the client.
    pub bytes_out: Option<u64>,
    /// From the request's head to the response's last byte, milliseconds.
    pub duration_ms: Option<f64>,
}

impl Record {
    /// Whether it is a request that the policy denied: by a rule, or because there is none for it. What was refused for another
    /// reason no rule could have allowed.
    pub(crate) fn is_denied_by_policy(&self) -> bool {
        let by_policy = [NO_RULE_MATCHED, DENIED_BY_RULE]
            .map(Some)
            .contains(&self.reason.as_deref());
        self.event == EventKind::Request && self.verdict == Some(Decision::Deny) && by_policy
    }

    /// Where a connection or a packet went, by name where there is one.
    pub(crate) fn place(&self) -> Option<String> {
        match (self.dst, &self.host) {
            (Some(dst), Some(host)) => Some(format!("{host}:{}", dst.port())),
            (Some(dst), None) => Some(dst.to_string()),
            (None, host) => host.clone(),
        }
    }

    /// The address that it went to, unless it was made up for a name.
    pub(crate) fn real_address(&self) -> Option<SocketAddr> {
        self.dst.filter(|dst| self.host.is_none() || !is_made_up(dst.ip()))
    }

    /// Whether it was refused for the address that its host has, though the policy allows it.
    pub(crate) fn is_about_its_address(&self) -> bool {
        let reason = self.reason.as_deref().unwrap_or_default();
        self.event == EventKind::Request && (reason.ends_with(" address") || reason == "address of this host")
    }

    /// Whether it went to a port of the host's loopback, where a program of the host listens.
    pub(crate) fn is_to_the_host(&self) -> bool {
        self.reason.as_deref() == Some(SERVICE_OF_HOST)
    }

    /// Whether it is a request that was allowed and that its server, the way there or its client's bytes let down.
    pub(crate) fn has_failed(&self) -> bool {
        self.verdict == Some(Decision::Allow) && self.failure.is_some()
    }

    /// Says whose it is.
    pub(crate) fn of(&mut self, holder: Holder) {
        let Holder {
            process,
            program,
            cgroup,
        } = holder;
        (self.pid, self.comm) = (Some(process.pid), Some(process.comm));
        (self.exe, self.cmdline, self.parents) = (program.exe, program.cmdline, program.parents);
        self.cgroup = self.cgroup.or(cgroup);
    }

    /// The rule that denied it, or else the reason.
    pub(crate) fn denied_by(&self) -> (Option<&str>, Option<&str>) {
        match (self.rule.as_deref(), self.reason.as_deref()) {
            (Some(rule), None | Some(DENIED_BY_RULE)) => (Some(rule), None),
            (_, reason) => (None, reason),
        }
    }

    /// A record of `event` with nothing else in it.
    pub(crate) fn new(event: EventKind) -> Self {
        Record {
            event,
            verdict: None,
            method: None,
            url: None,
            host: None,
            dst: None,
            status: None,
            rule: None,
            reason: None,
            pid: None,
            exe: None,
            comm: None,
            cmdline: None,
            parents: Vec::new(),
            cgroup: None,
            complete: None,
            failure: None,
            bytes_in: None,
            bytes_out: None,
            duration_ms: None,
        }
    }
}
