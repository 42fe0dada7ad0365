//! Makes the hint that follows a line on stderr: the missing rule, or why a protocol cannot pass.
//!
//! Each hint is given once, for a bounded number of hosts. [`StderrPolicy`] says which hints fit the run.

use std::collections::BTreeSet;

use super::policy::StderrPolicy;
use crate::audit::escape::{printable, short};
use crate::audit::record::{CERTIFICATE_REFUSED, EventKind, NO_RULE_MATCHED, NOT_HTTP, Record};
use crate::policy::{suggest_rule, suggest_rule_for_host};

/// For how many hosts each kind of hint is given.
const HOSTS_MAX: usize = 20;

const TRUST: &str = "the program has its own list of authorities (an option like --cacert, or a setting): add the output of \
                     `httpjail ca show` to it";

/// The hints that were given so far.
#[derive(Debug)]
pub(super) struct Advice {
    no_rules: Option<String>,
    suggest: bool,
    mends: bool,
    /// The hosts for which a rule was shown.
    suggested: BTreeSet<String>,
    /// Hints about other protocols, and about programs that do not trust the proxy.
    other: BTreeSet<String>,
}

impl Advice {
    pub(super) fn new(policy: &StderrPolicy) -> Advice {
        Advice {
            no_rules: policy.no_rules.clone(),
            suggest: policy.suggest,
            mends: policy.mend,
            suggested: BTreeSet::new(),
            other: BTreeSet::new(),
        }
    }

    /// Returns the `hint: ...` for the line about `record`.
    pub(super) fn after(&mut self, record: &Record) -> Option<String> {
        let no_rule = record.is_denied_by_policy() && record.reason.as_deref() == Some(NO_RULE_MATCHED);
        let hint = no_rule.then(|| self.no_rules.take()).flatten();
        let hint = hint.or_else(|| self.address(record)).or_else(|| self.rule(record));
        let hint = hint.or_else(|| self.protocol(record))?;
        Some(format!("hint: {}", printable(&hint)))
    }

    /// Returns the option that would have allowed it, the first time for each of a few hosts.
    fn rule(&mut self, record: &Record) -> Option<String> {
        let known = self.suggested.len() >= HOSTS_MAX || self.suggested.contains(record.host.as_ref()?);
        if !self.suggest || known || !record.is_denied_by_policy() {
            return None;
        }
        let rule = suggest_rule(record.method.as_deref()?, record.url.as_deref()?)?;
        self.suggested.insert(record.host.clone()?);
        let before = if record.rule.is_some() {
            ", before that rule"
        } else {
            ""
        };
        Some(format!("to allow it{before}: -r {}", quoted(&rule)))
    }

    /// Returns the rule that an address needs, the first time for each of a few hosts.
    fn address(&mut self, record: &Record) -> Option<String> {
        let key = match (record.is_to_the_host(), record.dst) {
            (true, Some(dst)) => format!("localhost:{}", dst.port()),
            _ => record.host.clone().filter(|_| record.is_about_its_address())?,
        };
        let known = self.suggested.len() >= HOSTS_MAX || self.suggested.contains(&key);
        if !self.mends || known {
            return None;
        }
        let rule = match record.is_to_the_host() {
            true => Some(format!("allow: ^http://{key}/")),
            false => suggest_rule_for_host(
                record.url.as_deref()?,
                record.reason.as_deref() == Some("private address"),
            ),
        };
        self.suggested.insert(key);
        let before = if record.rule.is_some() { ", before that one" } else { "" };
        Some(match rule {
            Some(rule) => format!("to allow it, name the host in a rule{before}: -r {}", quoted(&rule)),
            None => {
                "no rule for a name can allow this: request the address itself, or localhost, and name that in a rule"
                    .into()
            }
        })
    }

    /// Says why another protocol does not pass, in any mode, and what to do instead.
    fn protocol(&mut self, record: &Record) -> Option<String> {
        let spoken = record
            .reason
            .as_deref()
            .and_then(|reason| reason.strip_prefix(NOT_HTTP));
        let host = record.host.as_deref().map(short);
        let git = |before: &str, after: &str| match &host {
            Some(host) => {
                format!("; for git over HTTPS: git config --global url.https://{host}/.insteadOf {before}{host}{after}")
            }
            None => String::new(),
        };
        let hint = match (record.event, spoken) {
            (EventKind::Silent, _) => {
                "only HTTP and HTTPS pass, where the client speaks first: a client that waits for its server to begin \
                 (MySQL, FTP, SMTP, IMAP) waits in vain"
                    .to_owned()
            }
            (EventKind::Refused, Some(": ssh")) => {
                format!("ssh cannot pass, only HTTP and HTTPS can{}", git("git@", ":"))
            }
            (EventKind::Refused, Some(": git")) => {
                format!("git:// cannot pass, only HTTP and HTTPS can{}", git("git://", "/"))
            }
            (EventKind::Refused, None) if record.reason.as_deref() == Some(CERTIFICATE_REFUSED) => TRUST.to_owned(),
            (EventKind::Refused, Some(_)) => "only HTTP and HTTPS pass, on any port".to_owned(),
            _ => return None,
        };
        (self.other.len() < HOSTS_MAX && self.other.insert(hint.clone())).then_some(hint)
    }
}

/// Quotes `text` as one word for a POSIX shell (POSIX.1-2024, XCU section 2.2.2).
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
