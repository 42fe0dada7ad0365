//! The content of one line of the log.
//!
//! A request has one record, written when its last byte has gone. Every other attempt has one, too. Text from the jail is raw in a
//! record; the formats escape it, so that a caller cannot forget to.

use std::net::SocketAddr;

use crate::net::{Ancestor, Holder, is_made_up};

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// The jail is armed and the command is about to start. If this record cannot be written, the run stops.
    Start,
    /// An HTTP request was judged.
    Request,
    /// A connection was refused that is not HTTP, or that could not be parsed.
    Refused,
    /// A program opened a connection, asked for nothing, and closed it (or left it unused for long): programs race the
    /// addresses of a host, and open spare connections. Nothing was decided.
    Unused,
    /// A connection was closed on which the client sent nothing: the program waits for the server to speak first, which no HTTP
    /// server does, or it opened the connection too early. Nothing was decided.
    Silent,
    /// A packet or a socket was stopped in the kernel (UDP, raw, multicast, ...).
    Blocked,
    /// The kernel refused an attempt that programs make routinely and can do without: connecting a UDP socket (name look-ups do
    /// that to sort addresses, RFC 6724, and send nothing; so does a QUIC client before it sends), or connecting to a loopback
    /// port on which no program in the jail listens yet.
    Probe,
    /// A DNS question was answered or refused.
    Dns,
    /// The policy file changed, and was accepted or not.
    Reload,
    /// The command ended.
    End,
}

/// The verdict of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Allow,
    Deny,
}

/// The reason of a request that was denied because no rule matches it.
pub(crate) const NO_RULE_MATCHED: &str = "no rule matched";
/// The reason of a request that was denied by a deny rule.
pub(crate) const DENIED_BY_RULE: &str = "denied by rule";

/// The reason of a connection with another protocol. Its name may follow after a colon.
pub(crate) const NOT_HTTP: &str = "not http";
/// The reason of a connection to a loopback port on which a program of the host listens.
pub(crate) const SERVICE_OF_HOST: &str = "a service of this host";
/// The reason of a connection whose client does not accept our certificate.
pub(crate) const CERTIFICATE_REFUSED: &str = "client refused our certificate";

/// One line of the log. Fields that do not apply are `None` and left out.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub event: EventKind,
    /// The verdict, or `None` where nothing was decided.
    pub verdict: Option<Decision>,
    /// The request's method, as received.
    pub method: Option<String>,
    /// The canonical URL, or the escaped original if there is no canonical form.
    pub url: Option<String>,
    /// The canonical host.
    pub host: Option<String>,
    /// The address that the program wanted to connect to.
    pub dst: Option<SocketAddr>,
    /// The status code that the client received.
    pub status: Option<u16>,
    /// The rule that decided, as typed (`allow-get: ^https://...`).
    pub rule: Option<String>,
    /// The reason, a short stable phrase (`no rule matched`, `not http`, `certificate`, ...).
    pub reason: Option<String>,
    /// Process id in the supervisor's PID namespace.
    pub pid: Option<u32>,
    pub exe: Option<String>,
    /// The thread's name.
    pub comm: Option<String>,
    /// The command line, with its arguments separated by spaces, cut if it is long.
    pub cmdline: Option<String>,
    /// The processes that started it, nearest first.
    pub parents: Vec<Ancestor>,
    /// The id of the jail's cgroup, or of the process's cgroup if the jail has none.
    pub cgroup: Option<u64>,
    /// `false` if an allowed request did not end properly; the reason says why.
    pub complete: Option<bool>,
    /// What went wrong with a request after it was allowed, in words. Verdict and reason stay.
    pub failure: Option<String>,
    /// Request body bytes that went upstream.
    pub bytes_in: Option<u64>,
    /// Response body bytes that went to the client.
    pub bytes_out: Option<u64>,
    /// From the request's head to the response's last byte, milliseconds.
    pub duration_ms: Option<f64>,
}

impl Record {
    /// Returns true for a request that the policy denied: by a rule, or because none matches. No rule could have allowed a
    /// request that was refused for another reason.
    pub(crate) fn is_denied_by_policy(&self) -> bool {
        let by_policy = [NO_RULE_MATCHED, DENIED_BY_RULE]
            .map(Some)
            .contains(&self.reason.as_deref());
        self.event == EventKind::Request && self.verdict == Some(Decision::Deny) && by_policy
    }

    /// Returns the destination of a connection or a packet, by name if it has one.
    pub(crate) fn destination(&self) -> Option<String> {
        match (self.dst, &self.host) {
            (Some(dst), Some(host)) => Some(format!("{host}:{}", dst.port())),
            (Some(dst), None) => Some(dst.to_string()),
            (None, host) => host.clone(),
        }
    }

    /// Returns the destination's address, unless it is a synthetic one.
    pub(crate) fn real_address(&self) -> Option<SocketAddr> {
        self.dst.filter(|dst| self.host.is_none() || !is_made_up(dst.ip()))
    }

    /// Returns true if it was refused because of its host's address, although a rule allows the URL.
    pub(crate) fn is_about_its_address(&self) -> bool {
        let reason = self.reason.as_deref().unwrap_or_default();
        self.event == EventKind::Request && (reason.ends_with(" address") || reason == "address of this host")
    }

    /// Returns true if it went to a loopback port on which a program of the host listens.
    pub(crate) fn is_to_the_host(&self) -> bool {
        self.reason.as_deref() == Some(SERVICE_OF_HOST)
    }

    /// Returns true for an allowed request that failed because of its server, the way there, or the client's bytes.
    pub(crate) fn has_failed(&self) -> bool {
        self.verdict == Some(Decision::Allow) && self.failure.is_some()
    }

    /// Fills in the process that the event belongs to.
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

    /// Returns the rule that denied it, or otherwise the reason.
    pub(crate) fn denied_by(&self) -> (Option<&str>, Option<&str>) {
        match (self.rule.as_deref(), self.reason.as_deref()) {
            (Some(rule), None | Some(DENIED_BY_RULE)) => (Some(rule), None),
            (_, reason) => (None, reason),
        }
    }

    /// Creates a record of `event` in which every other field is empty.
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
