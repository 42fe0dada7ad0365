//! Accepts connections, bounds their number, and ends them at shutdown.

use crate::counts::Counts;
use crate::proxy::config::Config;
use crate::proxy::context::Context;
use crate::proxy::downstream::connection;
use crate::proxy::overload::clients::Registration;
use crate::proxy::workers::Workers;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// The proxy of one jail.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) context: Arc<Context>,
}

impl Proxy {
    /// Returns a proxy that does not run yet.
    pub(crate) fn new(config: Config) -> Proxy {
        Proxy {
            context: Context::new(config),
        }
    }

    /// Returns what tells how much it has done so far, also while it runs.
    pub(crate) fn counts(&self) -> impl Fn() -> Counts + Send + Sync + use<> {
        let context = self.context.clone();
        move || context.counts()
    }

    /// Serves `listeners` until `shutdown` resolves, then gives open connections
    /// [`grace`](crate::proxy::limits::Limits::grace) to end by themselves. Fails only if a listener cannot be handed
    /// to the runtime.
    pub(crate) async fn run(
        self,
        listeners: Vec<std::net::TcpListener>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let context = self.context;
        let permits = Arc::new(Semaphore::new(context.config.limits.connections));
        let (connections, mut opened) = tokio::sync::mpsc::channel(64);
        let mut accepting = JoinSet::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let (context, permits, connections) = (context.clone(), permits.clone(), connections.clone());
            accepting.spawn(async move {
                loop {
                    let (stream, peer) = accept(&listener).await;
                    // Beyond the bound no more than this one is accepted: the kernel's queue fills, then refuses.
                    let permit = match permits.clone().try_acquire_owned() {
                        Ok(permit) => Ok(permit),
                        Err(_) => {
                            context.clients.make_room();
                            permits.clone().acquire_owned().await
                        }
                    };
                    let Ok(permit) = permit else { return };
                    let accepted = Accepted {
                        stream,
                        peer,
                        registration: context.clients.enter(context.has_strangers()),
                        permit,
                    };
                    if connections.send(accepted).await.is_err() {
                        return;
                    }
                }
            });
        }
        let mut workers = Workers::new();
        let mut serving = JoinSet::new();
        let mut sweep = tokio::time::interval((context.config.limits.idle / 4).max(Duration::from_secs(1)));
        tokio::pin!(shutdown);
        let (is_unused, close_unused) = (|| context.is_unused(), || context.pool.close_unused());
        let keeping = context.clients.keep_within(&context.memory, is_unused, close_unused);
        tokio::pin!(keeping);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(accepted) = opened.recv() => accepted.serve(&context, &mut workers, &mut serving),
                Some(_) = serving.join_next() => {}
                _ = sweep.tick() => {
                    context.pool.sweep();
                    if context.is_unused() {
                        context.memory.measure();
                    }
                }
                () = &mut keeping => {}
            }
        }
        accepting.shutdown().await;
        // Those that were accepted and not yet begun are owed a record too.
        while let Ok(accepted) = opened.try_recv() {
            accepted.serve(&context, &mut workers, &mut serving);
        }
        let all = async { while serving.join_next().await.is_some() {} };
        let all = async { tokio::join!(all, context.tasks.ended()) };
        let _ = tokio::time::timeout(context.config.limits.grace, all).await;
        // What is left is aborted, and its requests are recorded as cut short.
        serving.shutdown().await;
        context.tasks.shutdown().await;
        Ok(())
    }
}

/// A connection that is to be served.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    registration: Registration,
    permit: OwnedSemaphorePermit,
}

impl Accepted {
    /// Has one of the `workers` serve it, as one of the tasks of `serving`.
    fn serve(self, context: &Arc<Context>, workers: &mut Workers, serving: &mut JoinSet<()>) {
        let Accepted {
            stream,
            peer,
            registration,
            permit,
        } = self;
        let context = context.clone();
        let (worker, place) = workers.place();
        let Some(worker) = worker else {
            serving.spawn(async move {
                connection::serve(context, stream, peer, registration).await;
                drop((permit, place));
            });
            return;
        };
        // It was accepted in the runtime of this thread.
        let stream = stream.into_std();
        let connection = async move {
            match stream.and_then(TcpStream::from_std) {
                Ok(stream) => connection::serve(context, stream, peer, registration).await,
                Err(error) => connection::lost(&context, &error),
            }
            drop((permit, place));
        };
        serving.spawn_on(connection, worker);
    }
}

/// Returns the next connection, however long that takes: an error does not end the accept loop.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                if let Some(pause) = pause_after(&error) {
                    tracing::warn!("accepting a connection failed: {error}");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

/// How long to wait before the next try: not at all where the client gave up before it was accepted. Anything else is
/// want of descriptors or memory, and stays so for a while: the listener stays readable meanwhile and would make its
/// loop spin.
pub(crate) fn pause_after(error: &io::Error) -> Option<Duration> {
    (error.kind() != io::ErrorKind::ConnectionAborted).then_some(Duration::from_millis(100))
}
