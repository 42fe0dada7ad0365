//! The policy file while it is in force: read anew when it has changed, if those whom it is about cannot write it.
//!
//! It is looked at by its path, once a second, so that it does not matter how an editor replaces it. Something new is taken
//! when it has stayed the same from one look to the next, for a rule that is half written can allow more than the whole.

mod guard;
mod in_force;
mod watcher;

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

#[cfg(target_os = "linux")]
use crate::jail::sandbox::user_identity::Identity;
#[cfg(target_os = "linux")]
use crate::jail::supervisor::policy_watch::Watch;
pub(super) use guard::SafeFrom;
pub(super) use in_force::InForce;
pub(super) use watcher::Watcher;

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

#[cfg(all(test, target_os = "linux"))]
mod tests;
