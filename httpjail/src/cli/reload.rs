//! The policy file while it is in force: read anew when it has changed, if those whom it is about cannot write it.
//!
//! It is looked at by its path, once a second, so that it does not matter how an editor replaces it. Something new is taken
//! when it has stayed the same from one look to the next, for a rule that is half written can allow more than the whole.

mod guard;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::time::MissedTickBehavior;

pub(super) use guard::SafeFrom;

use super::policy_file::bytes_of;
use crate::audit::{EventKind, Log, Record, Sink, printable};
use crate::config::{Config, Reload, Reloaded};
#[cfg(target_os = "linux")]
use crate::jail::{identity::Identity, reload::Watch};
use crate::policy::{Policy, yaml};

/// How often to look.
const PERIOD: Duration = Duration::from_secs(1);

/// The texts of a policy file, or why there are none.
type Change = Result<Vec<(PathBuf, String)>, String>;

/// Does something with the rights to files of the user who named the policy file.
pub(super) trait Rights {
    /// Reads with them.
    fn act<T>(&self, work: impl FnOnce() -> T) -> io::Result<T>;
}

/// This process's own rights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own;

impl Rights for Own {
    fn act<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        Ok(work())
    }
}

/// What a file looks like from outside; none if it is not there.
type Stamp = Option<(u64, SystemTime, Option<Inode>)>;
/// Device, number, time of the last change of whatever kind.
type Inode = (u64, u64, i64, i64);

/// Looks after a policy file.
#[derive(Debug)]
pub(super) struct Watcher<R> {
    rights: R,
    guard: SafeFrom,
    /// As it was named.
    name: String,
    /// What is in force.
    texts: Vec<(PathBuf, String)>,
    /// The files that were tried to read the last time.
    files: BTreeSet<PathBuf>,
    /// How they looked when they were last read.
    known: Vec<Stamp>,
    /// How they looked at the last look, if that was new.
    fresh: Option<Vec<Stamp>>,
    /// It was not safe at the start.
    asleep: bool,
}

impl<R: Rights> Watcher<R> {
    /// Looks after the policy file of this configuration, if there is one. If somebody could write it whom the guard keeps
    /// off, it is read again on demand at most, once that has changed.
    pub(super) fn new(config: &Config, guard: SafeFrom, rights: R) -> Option<Watcher<R>> {
        let reload = config.reload.as_ref()?;
        let (name, _) = reload.texts.first()?;
        let mut watcher = Watcher {
            rights,
            guard,
            name: name.display().to_string(),
            texts: reload.texts.clone(),
            files: reload.texts.iter().map(|(path, _)| path.clone()).collect(),
            // Read once more at the first look, for what has changed since the start.
            known: Vec::new(),
            fresh: None,
            asleep: false,
        };
        if let Err(error) = watcher.guarded() {
            tracing::info!("changes of the policy file are not seen: {error}");
            watcher.asleep = true;
        }
        Some(watcher)
    }

    /// What is new, if anything is and it has settled.
    pub(super) fn look(&mut self) -> Option<Change> {
        if self.asleep {
            return None;
        }
        let now = self.stamps();
        if now == self.known {
            self.fresh = None;
            return None;
        }
        if self.fresh.as_ref() != Some(&now) {
            self.fresh = Some(now);
            return None;
        }
        let change = self.read();
        match &change {
            Ok(texts) if *texts == self.texts => return None,
            Ok(texts) => self.texts.clone_from(texts),
            Err(_) => {}
        }
        Some(change)
    }

    /// What is there, new or not.
    pub(super) fn demand(&mut self) -> Change {
        let change = self.read();
        if let Ok(texts) = &change {
            self.texts.clone_from(texts);
        }
        change
    }

    /// Reads all files, and remembers how they looked.
    fn read(&mut self) -> Change {
        let mut tried = BTreeSet::from([PathBuf::from(&self.name)]);
        let mut read = |path: &Path| {
            tried.insert(path.to_owned());
            let bytes = self.rights.act(|| bytes_of(path)).flatten();
            bytes.map_err(|error| error.to_string())
        };
        let main = read(Path::new(&self.name)).map_err(|error| format!("cannot read {}: {error}", self.name));
        let loaded = main.and_then(|main| {
            yaml::load(&self.name, main, &mut read).map_err(|error| match &error.hint {
                Some(hint) => format!("{error}\nhint: {hint}"),
                None => error.to_string(),
            })
        });
        self.files = tried;
        self.known = self.stamps();
        self.fresh = None;
        // After reading: what was read is what is guarded now, or it is not taken.
        let guarded = self.guarded();
        let texts = loaded?.texts;
        guarded?;
        self.asleep = false;
        Ok(texts)
    }

    fn guarded(&self) -> Result<(), String> {
        let checked = self
            .rights
            .act(|| self.files.iter().try_for_each(|file| self.guard.check(file)));
        checked.map_err(|error| error.to_string())?
    }

    fn stamps(&self) -> Vec<Stamp> {
        let stamps = self.rights.act(|| self.files.iter().map(|file| stamp(file)).collect());
        stamps.unwrap_or_default()
    }
}

#[cfg(target_os = "linux")]
impl Rights for &Identity {
    fn act<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        Identity::act(self, work)
    }
}

#[cfg(target_os = "linux")]
impl<R: Rights> Watch for Watcher<R> {
    fn look(&mut self) -> Option<Change> {
        Watcher::look(self)
    }

    fn demand(&mut self) -> Change {
        Watcher::demand(self)
    }
}

/// Looks once a second, and where it heeds SIGHUP also on that, and puts what is new in force. Never ends.
pub(super) async fn keep<R: Rights + Send + 'static>(
    watch: Option<Watcher<R>>,
    heeds_hangup: bool,
    in_force: Arc<InForce>,
) -> Infallible {
    let Some(mut watch) = watch else {
        return std::future::pending().await;
    };
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hangup = Hangup::new(heeds_hangup);
    loop {
        let demanded = tokio::select! {
            _ = period.tick() => false,
            () = hangup.next() => true,
        };
        let in_force = in_force.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let change = if demanded { Some(watch.demand()) } else { watch.look() };
            change.into_iter().for_each(|change| in_force.take(change));
            watch
        });
        watch = match looked.await {
            Ok(back) => back,
            // The runtime ends.
            Err(_) => return std::future::pending().await,
        };
    }
}

/// SIGHUP, where there is one and it is heeded.
struct Hangup {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangup {
    #[cfg(unix)]
    fn new(heeded: bool) -> Hangup {
        use tokio::signal::unix::{SignalKind, signal};
        Hangup {
            signal: heeded.then(|| signal(SignalKind::hangup()).ok()).flatten(),
        }
    }

    #[cfg(not(unix))]
    fn new(_heeded: bool) -> Hangup {
        Hangup {}
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    #[cfg(unix)]
    let inode = {
        use std::os::unix::fs::MetadataExt as _;
        Some((found.dev(), found.ino(), found.ctime(), found.ctime_nsec()))
    };
    #[cfg(not(unix))]
    let inode = None;
    Some((found.len(), found.modified().ok()?, inode))
}

/// Puts what has changed in force, or says why not; in the log too.
pub(super) struct InForce {
    reload: Option<Reload>,
    policy: Arc<ArcSwap<Policy>>,
    log: Arc<Log>,
    quiet: bool,
    /// Whether connections to this host's loopback are steered at all.
    loopback: bool,
}

impl InForce {
    /// What is in force at the start.
    pub(super) fn new(config: &Config, log: Arc<Log>) -> InForce {
        InForce {
            reload: config.reload.clone(),
            policy: Arc::new(ArcSwap::from(config.policy.clone())),
            log,
            quiet: config.log.quiet,
            loopback: config.policy.names_loopback(),
        }
    }

    /// The policy, for the proxy.
    pub(super) fn policy(&self) -> Arc<ArcSwap<Policy>> {
        self.policy.clone()
    }

    /// Takes a change. Requests that are being judged keep the policy that they began with.
    pub(super) fn take(&self, change: Change) {
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

#[cfg(all(test, target_os = "linux"))]
mod tests;
