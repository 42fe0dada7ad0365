//! What has changed is put in force.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::rights::Change;
use crate::audit::{EventKind, Log, Record, Sink, printable};
use crate::config::{Config, Reload, Reloaded};
use crate::policy::Policy;

/// Puts what has changed in force, or says why not; in the log too.
pub(crate) struct InForce {
    reload: Option<Reload>,
    policy: Arc<ArcSwap<Policy>>,
    log: Arc<Log>,
    quiet: bool,
    /// Whether connections to this host's loopback are steered at all.
    loopback: bool,
}

impl InForce {
    /// What is in force at the start.
    pub(crate) fn new(config: &Config, log: Arc<Log>) -> InForce {
        InForce {
            reload: config.reload.clone(),
            policy: Arc::new(ArcSwap::from(config.policy.clone())),
            log,
            quiet: config.log.quiet,
            loopback: config.policy.names_loopback(),
        }
    }

    /// The policy, for the proxy.
    pub(crate) fn policy(&self) -> Arc<ArcSwap<Policy>> {
        self.policy.clone()
    }

    /// Takes a change. Requests that are being judged keep the policy that they began with.
    pub(crate) fn take(&self, change: Change) {
        let Some(reload) = &self.reload else { return };
        match change.and_then(|texts| reload.policy(texts)) {
            Ok(Reloaded { policy, warnings }) => {
                let rules = match policy.rules().len() {
                    1 => "1 rule".to_owned(),
                    count => format!("{count} rules"),
                };
                let loopback = policy.names_loopback() && !self.loopback;
                self.policy.store(Arc::new(policy));
                self.record(format!("policy reloaded, {rules}"));
                if !self.quiet {
                    self.say("httpjail", &format!("the policy was reloaded: {rules}"));
                    for warning in warnings {
                        self.say("warning", &warning.message);
                        warning.hint.iter().for_each(|hint| self.say("hint", hint));
                    }
                    if loopback {
                        self.say(
                            "warning",
                            "rules for this host's own loopback take effect at the next start",
                        );
                    }
                }
            }
            Err(error) => {
                self.record(format!(
                    "policy not reloaded: {}",
                    error.lines().next().unwrap_or_default()
                ));
                self.say(
                    "error",
                    &format!("the policy was not reloaded, the old one stays in force: {error}"),
                );
            }
        }
    }

    fn record(&self, reason: String) {
        self.log.record(Record {
            reason: Some(reason),
            ..Record::new(EventKind::Reload)
        });
    }

    fn say(&self, kind: &str, text: &str) {
        for (number, line) in text.lines().enumerate() {
            let line = printable(line);
            self.log.terminal().line(match number {
                0 => format!("{kind}: {line}"),
                _ if line.starts_with("hint: ") => line.into_owned(),
                _ => format!("  {line}"),
            });
        }
    }
}
