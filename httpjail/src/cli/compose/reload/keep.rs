//! Looks at the policy file for as long as a proxy in this process serves.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::in_force::InForce;
use super::rights::Rights;
use super::watcher::Watcher;
use crate::control::protocol::Loaded;

/// How often to look.
const PERIOD: Duration = Duration::from_secs(1);

/// Somebody who has asked to look at the file now, and is told what came of it.
pub(crate) type Demand = oneshot::Sender<Result<Loaded, String>>;

/// Looks once a second, where it heeds SIGHUP also on that, and on demand, and puts what is new in force. Never ends.
pub(crate) async fn keep<R: Rights + Send + 'static>(
    watch: Option<Watcher<R>>,
    heeds_hangup: bool,
    in_force: Arc<InForce>,
    mut demands: mpsc::Receiver<Demand>,
) -> Infallible {
    let Some(mut watch) = watch else {
        return std::future::pending().await;
    };
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hangup = Hangup::new(heeds_hangup);
    loop {
        let mut asker = None;
        let demanded = tokio::select! {
            _ = period.tick() => false,
            () = hangup.next() => true,
            Some(demand) = demands.recv() => {
                asker = Some(demand);
                true
            }
        };
        let in_force = in_force.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let change = if demanded { Some(watch.demand()) } else { watch.look() };
            let became = change.map(|change| in_force.take(change));
            if let (Some(asker), Some(became)) = (asker, became) {
                // It may have stopped waiting.
                let _ = asker.send(became);
            }
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
