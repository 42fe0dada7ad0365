//! Tasks that may outlive the future that spawned them, but never the proxy.
//!
//! hyper runs each stream of an HTTP/2 connection as a task of its own, and a tunnel goes on when the connection that
//! opened it is done. Each of them has a record to write, so the proxy waits for them before it ends: see
//! [`crate::proxy::server::Proxy::run`].

use crate::sync::lock;
use hyper::rt::Executor;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use tokio::task::JoinSet;

/// The tasks of one proxy.
#[derive(Clone, Default)]
pub(crate) struct Tasks(Arc<Mutex<Running>>);

#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    closed: bool,
}

impl Tasks {
    /// Spawns a task. After the shutdown it is dropped.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.lock();
        if running.closed {
            return;
        }
        // Those that have ended would only take room.
        while running.tasks.try_join_next().is_some() {}
        running.tasks.spawn(task);
    }

    /// Returns whether no task runs.
    pub(crate) fn are_none(&self) -> bool {
        let mut running = self.lock();
        while running.tasks.try_join_next().is_some() {}
        running.tasks.is_empty()
    }

    /// Waits until all have ended.
    pub(crate) async fn ended(&self) {
        std::future::poll_fn(|cx| {
            while let Poll::Ready(ended) = self.lock().tasks.poll_join_next(cx) {
                if ended.is_none() {
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        })
        .await;
    }

    /// Ends those that are left, and waits until they are gone.
    pub(crate) async fn shutdown(&self) {
        {
            let mut running = self.lock();
            running.closed = true;
            running.tasks.abort_all();
        }
        self.ended().await;
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        lock(&self.0)
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
