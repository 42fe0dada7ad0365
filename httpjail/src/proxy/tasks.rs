//! Tasks that may outlive the future that spawned them, but never the proxy.
//!
//! hyper runs each stream of an HTTP/2 connection as a task of its own, and a tunnel goes on when the connection that
//! opened it is done. Each of them has a record to write, so the proxy waits for them before it ends: see
//! [`crate::proxy::server::Proxy::run`]. They are counted and share one signal to end: a list of them would cost every
//! stream a place in it.

use hyper::rt::Executor;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The tasks of one proxy.
#[derive(Clone, Default)]
pub(crate) struct Tasks(Arc<Shared>);

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    /// Woken when none runs any more.
    none: Notify,
    end: CancellationToken,
}

/// Counts a task for as long as it lives, whatever ends it.
struct Running(Arc<Shared>);

impl Running {
    fn new(shared: &Arc<Shared>) -> Running {
        shared.running.fetch_add(1, Ordering::AcqRel);
        Running(shared.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

impl Tasks {
    /// Spawns a task. After the shutdown it is dropped.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let running = Running::new(&self.0);
        tokio::spawn(async move {
            running.0.end.run_until_cancelled(task).await;
        });
    }

    /// Returns whether no task runs.
    pub(crate) fn are_none(&self) -> bool {
        self.0.running.load(Ordering::Acquire) == 0
    }

    /// Waits until all have ended.
    pub(crate) async fn ended(&self) {
        loop {
            let mut none = pin!(self.0.none.notified());
            // From here on none that ends goes unnoticed.
            none.as_mut().enable();
            if self.are_none() {
                return;
            }
            none.await;
        }
    }

    /// Ends those that are left, and waits until they are gone.
    pub(crate) async fn shutdown(&self) {
        self.0.end.cancel();
        self.ended().await;
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}
