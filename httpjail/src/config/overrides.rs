//! What the command line or a policy file sets. Both fill [`Overrides`], so that one function decides which of them wins.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::options::{Auth, Backend, DnsMode, Level, LogFormat, UpstreamNetwork};
use crate::audit::SummaryForm;

/// The command line of any command that judges requests.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct CommandLine {
    /// The rules of `-r`.
    pub rules: Vec<String>,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--locked`.
    pub locked: Option<PathBuf>,
    pub command: Vec<OsString>,
    /// Everything else.
    pub options: Overrides,
}

/// The options that the command line or a policy file sets; `None` or empty where it does not.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Overrides {
    pub name: Option<String>,
    pub labels: Vec<String>,
    pub dry_run: Option<bool>,
    pub log_only: Option<bool>,
    pub no_tls_intercept: Option<bool>,
    pub weak: Option<bool>,
    pub interactive: Option<bool>,
    pub approve_with: Option<String>,
    pub approve_timeout: Option<Duration>,
    pub ephemeral_ca: Option<bool>,
    pub dns: Option<DnsMode>,
    pub backend: Option<Backend>,
    pub user: Option<String>,
    pub timeout: Option<Duration>,
    pub log: Option<PathBuf>,
    pub log_format: Option<LogFormat>,
    pub summary: Option<SummaryForm>,
    pub quiet: Option<bool>,
    /// How many `-v`.
    pub verbose: Option<u8>,
    /// The same as a word: `level:` of `logging:`.
    pub level: Option<Level>,
    pub publish: Vec<String>,
    pub allow_socket: Vec<PathBuf>,
    pub upstream_ca: Vec<PathBuf>,
    pub listen: Option<SocketAddr>,
    pub auth: Option<Auth>,
    pub inbound: Vec<String>,
    pub upstream_network: Option<UpstreamNetwork>,
}

impl Overrides {
    /// Returns what is set here and, where nothing is, what `other` sets. Options that exclude each other count as one.
    pub(super) fn or(self, other: Overrides) -> Overrides {
        let (dry_run, log_only) = pair((self.dry_run, self.log_only), (other.dry_run, other.log_only));
        let (weak, backend) = pair((self.weak, self.backend), (other.weak, other.backend));
        let (verbose, level) = pair((self.verbose, self.level), (other.verbose, other.level));
        let (interactive, approve_with) = pair(
            (self.interactive, self.approve_with),
            (other.interactive, other.approve_with),
        );
        Overrides {
            name: self.name.or(other.name),
            labels: list(self.labels, other.labels),
            dry_run,
            log_only,
            weak,
            backend,
            verbose,
            level,
            interactive,
            approve_with,
            no_tls_intercept: self.no_tls_intercept.or(other.no_tls_intercept),
            approve_timeout: self.approve_timeout.or(other.approve_timeout),
            ephemeral_ca: self.ephemeral_ca.or(other.ephemeral_ca),
            dns: self.dns.or(other.dns),
            user: self.user.or(other.user),
            timeout: self.timeout.or(other.timeout),
            log: self.log.or(other.log),
            log_format: self.log_format.or(other.log_format),
            summary: self.summary.or(other.summary),
            quiet: self.quiet.or(other.quiet),
            publish: list(self.publish, other.publish),
            allow_socket: list(self.allow_socket, other.allow_socket),
            upstream_ca: list(self.upstream_ca, other.upstream_ca),
            listen: self.listen.or(other.listen),
            auth: self.auth.or(other.auth),
            inbound: list(self.inbound, other.inbound),
            upstream_network: self.upstream_network.or(other.upstream_network),
        }
    }
}

fn pair<A, B>(first: (Option<A>, Option<B>), other: (Option<A>, Option<B>)) -> (Option<A>, Option<B>) {
    match first {
        (None, None) => other,
        set => set,
    }
}

fn list<T>(first: Vec<T>, other: Vec<T>) -> Vec<T> {
    if first.is_empty() { other } else { first }
}
