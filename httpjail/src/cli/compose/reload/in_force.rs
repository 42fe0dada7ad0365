//! What has changed is put in force.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::history::History;
use super::rights::Change;
use crate::audit::{EventKind, Log, Record, Sink, printable};
use crate::config::{Config, Reload, Reloaded};
use crate::control::protocol::{self, Loaded};
use crate::policy::Policy;

/// Puts what has changed in force, or says why not; in the log too.
pub(crate) struct InForce {
    reload: Option<Reload>,
    policy: Arc<ArcSwap<Policy>>,
    log: Arc<Log>,
    quiet: bool,
    /// Whether connections to this host's loopback are steered at all.
    loopback: bool,
    history: History,
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
            history: History::new(),
        }
    }

    /// Whether there is a file to reload.
    pub(crate) fn has_file(&self) -> bool {
        self.reload.is_some()
    }

    /// What is in force, and what came of the reloads so far.
    pub(crate) fn state(&self) -> protocol::Policy {
        let file = self.reload.as_ref().and_then(|reload| reload.texts.first());
        let file = file.map(|(name, _)| std::path::absolute(name).unwrap_or_else(|_| name.clone()));
        self.history.told(file.as_deref(), &self.policy.load())
    }

    /// The policy, for the proxy.
    pub(crate) fn policy(&self) -> Arc<ArcSwap<Policy>> {
        self.policy.clone()
    }

    /// Takes a change. Requests that are being judged keep the policy that they began with. Returns what is in force then, or why
    /// it is what it was before.
    pub(crate) fn take(&self, change: Change) -> Result<Loaded, String> {
        let reload = self.reload.as_ref().ok_or("there is no policy file")?;
        match change.and_then(|texts| reload.policy(texts)) {
            Ok(Reloaded { policy, warnings }) => {
                let rules = match policy.rules().len() {
                    1 => "1 rule".to_owned(),
                    count => format!("{count} rules"),
                };
                let loopback = policy.names_loopback() && !self.loopback;
                self.policy.store(Arc::new(policy));
                self.history.taken();
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
                Ok(self.history.loaded(&self.policy.load()))
            }
            Err(error) => {
                self.history.failed(&error);
                self.record(format!(
                    "policy not reloaded: {}",
                    error.lines().next().unwrap_or_default()
                ));
                self.say(
                    "error",
                    &format!("the policy was not reloaded, the old one stays in force: {error}"),
                );
                Err(error)
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
