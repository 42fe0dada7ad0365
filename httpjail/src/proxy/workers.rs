//! The threads that serve connections: one, until there is work for more.
//!
//! A runtime of one thread spends less on a request than one whose threads take each other's tasks, and most jails have
//! never work for a second thread. So the thread that accepts connections serves them too. Another one starts, with a
//! runtime of its own, when a connection comes while all that there are have many or are busy. A connection stays on
//! its thread with all that it begins. What connections share, such as the pool, all threads share.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// With so many connections a thread has enough.
const MANY: usize = 16;

/// A thread is busy that has worked for more than half of the time since this long ago.
const LOOK: Duration = Duration::from_millis(20);

/// The threads of one proxy.
pub(crate) struct Workers {
    all: Vec<Worker>,
    most: usize,
}

/// The place of a connection among those of its thread.
pub(crate) struct Place(#[expect(dead_code, reason = "what is counted is that it is there")] Arc<()>);

struct Worker {
    runtime: Handle,
    /// Shared with each of its connections.
    connections: Arc<()>,
    looked: Instant,
    /// How long it had worked then.
    worked: Duration,
    busy: bool,
    /// Ends the thread when it is dropped. The first thread is the caller's.
    _end: Option<oneshot::Sender<Infallible>>,
}

impl Workers {
    /// Begins with the calling thread, whose runtime this is called in. There will be as many threads as cores at most.
    pub(crate) fn new() -> Workers {
        Workers {
            all: vec![Worker::new(Handle::current(), None)],
            most: thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Returns the runtime for another connection, `None` if that is the caller's, and the connection's place there.
    pub(crate) fn place(&mut self) -> (Option<&Handle>, Place) {
        let now = Instant::now();
        self.all.iter_mut().for_each(|worker| worker.look(now));
        let load = |worker: &Worker| (worker.busy, worker.connections());
        let mut least = (0..self.all.len()).min_by_key(|at| load(&self.all[*at])).unwrap_or(0);
        if self.all[least].has_enough() && self.all.len() < self.most {
            match start() {
                Ok(worker) => {
                    least = self.all.len();
                    self.all.push(worker);
                }
                Err(error) => {
                    tracing::warn!("no further thread can serve: {error}");
                    self.most = self.all.len();
                }
            }
        }
        let worker = &self.all[least];
        let place = Place(worker.connections.clone());
        ((least > 0).then_some(&worker.runtime), place)
    }
}

impl Worker {
    fn new(runtime: Handle, end: Option<oneshot::Sender<Infallible>>) -> Worker {
        Worker {
            runtime,
            connections: Arc::default(),
            looked: Instant::now(),
            worked: Duration::ZERO,
            busy: false,
            _end: end,
        }
    }

    fn connections(&self) -> usize {
        Arc::strong_count(&self.connections) - 1
    }

    /// Looks whether it is busy, if it is time to.
    fn look(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.looked);
        if passed >= LOOK {
            let worked = self.runtime.metrics().worker_total_busy_duration(0);
            self.busy = worked.saturating_sub(self.worked) > passed / 2;
            (self.looked, self.worked) = (now, worked);
        }
    }

    fn has_enough(&self) -> bool {
        self.busy || self.connections() >= MANY
    }
}

/// Returns the runtime of a thread.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn start() -> io::Result<Worker> {
    let runtime = runtime()?;
    let (end, ended) = oneshot::channel();
    let worker = Worker::new(runtime.handle().clone(), Some(end));
    let (give, take) = mpsc::channel::<Runtime>();
    let started = thread::Builder::new().name("worker".to_owned()).spawn(move || {
        if let Ok(runtime) = take.recv() {
            // Nobody sends: it ends with the proxy.
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        }
    });
    // Not dropped: that may wait, which tasks must not.
    let failed = match started {
        Ok(_) => match give.send(runtime) {
            Ok(()) => return Ok(worker),
            Err(mpsc::SendError(runtime)) => (runtime, io::ErrorKind::BrokenPipe.into()),
        },
        Err(error) => (runtime, error),
    };
    failed.0.shutdown_background();
    Err(failed.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_thread_until_there_is_work_for_more() {
        let mut workers = Workers {
            most: 3,
            ..Workers::new()
        };
        let place = |workers: &mut Workers| {
            let (runtime, place) = workers.place();
            (runtime.cloned(), place)
        };
        let first: Vec<_> = (0..MANY).map(|_| place(&mut workers)).collect();
        assert!(first.iter().all(|(runtime, _)| runtime.is_none()));
        assert_eq!(workers.all.len(), 1);
        let more: Vec<_> = (0..2 * MANY).map(|_| place(&mut workers)).collect();
        assert_eq!(workers.all.len(), 3);
        for (runtime, _) in &more {
            let name = async { thread::current().name().map(str::to_owned) };
            let name = runtime.as_ref().unwrap().spawn(name).await.unwrap();
            assert_eq!(name.as_deref(), Some("worker"));
        }
        // There are no more threads: all take more, the one with the fewest first.
        let beyond: Vec<_> = (0..3).map(|_| place(&mut workers)).collect();
        assert_eq!(
            workers.all.iter().map(Worker::connections).collect::<Vec<_>>(),
            [MANY + 1; 3]
        );
        drop((first, beyond));
        assert_eq!(workers.all[0].connections(), 0);
        assert!(place(&mut workers).0.is_none());
        // The threads end with the proxy.
        let runtime = more[0].0.clone().unwrap();
        drop(workers);
        let forever = runtime.spawn(std::future::pending::<()>());
        assert!(forever.await.unwrap_err().is_cancelled());
    }

    #[tokio::test]
    async fn a_busy_thread_has_enough() {
        let mut workers = Workers {
            most: 2,
            ..Workers::new()
        };
        workers.all[0].busy = true;
        workers.all[0].looked = Instant::now() + Duration::from_secs(60);
        assert!(workers.place().0.is_some());
        assert_eq!(workers.all.len(), 2);
    }
}
