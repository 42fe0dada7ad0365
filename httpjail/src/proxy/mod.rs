//! From an accepted connection to a verdict on the wire.
//!
//! A connection: its flow is taken once, its first bytes tell what it speaks, TLS is terminated with a leaf for the name it
//! asked for, and hyper serves it with one `Interceptor`. A request: it becomes a canonical [`crate::policy::Target`], which is
//! judged and then either refused in words or written anew to an upstream whose addresses and certificate were checked.
//! Nothing is dialled before a request was allowed, and no error on the way lets one through.

mod auth;
mod downstream;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod http1;
mod io;
mod limits;
#[cfg(target_os = "linux")]
mod netlink;
mod overload;
mod refusal;
mod service;
mod tasks;
#[cfg(test)]
mod tests;
mod upstream;

pub(crate) use downstream::forward_proxy::{Guard, Token};
pub(crate) use limits::Limits;
pub(crate) use overload::memory::Allocated;
pub(crate) use upstream::address::{Class, Foreseen, foresee};
pub(crate) use upstream::network::{HostNetwork, Network};
pub(crate) use upstream::proxy_env::Parents;

use crate::approve::ApprovalQueue;
use crate::audit::Sink;

use crate::net::{HostPattern, NameSource, OriginalDstSource, ProgramSource};
use crate::policy::Policy;
use crate::tls::{Leaves, UpstreamTls};
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What is done with a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// What is denied is refused.
    Enforce,
    /// Requests are judged and recorded with their verdict, and forwarded all the same.
    DryRun,
    /// Requests are not judged; all are recorded and forwarded.
    LogOnly,
    /// What a rule denies is refused; what no rule is about is forwarded.
    Learn,
}

/// How clients come to a proxy.
pub(crate) enum Clients {
    /// Without their knowledge: the source tells where each connection was meant to go.
    Steered(Arc<dyn OriginalDstSource>),
    /// Knowing that it is one; the guard says who may.
    Explicit(Guard),
}

/// What a proxy is made of.
pub(crate) struct Config {
    /// The rules in force; swapped whole on a reload.
    pub policy: Arc<ArcSwap<Policy>>,
    /// Where requests go that no rule matches, if anybody is asked.
    pub approvals: Option<Arc<ApprovalQueue>>,
    /// What is done with their verdicts.
    pub mode: Mode,
    /// Whether TLS is decrypted. If not it is judged by host name alone.
    pub intercept_tls: bool,
    /// Hosts whose TLS is not decrypted all the same.
    pub passthrough: Vec<HostPattern>,
    /// How clients come here.
    pub clients: Clients,
    /// Which program a process runs.
    pub programs: Arc<dyn ProgramSource>,
    /// The names behind made-up addresses.
    pub names: Arc<dyn NameSource>,
    /// Certificates for the client leg.
    pub leaves: Arc<Leaves>,
    /// Trust for the upstream leg.
    pub upstream_tls: Arc<UpstreamTls>,
    /// Where records go.
    pub audit: Arc<dyn Sink>,
    /// The network of the upstream leg; [`HostNetwork`] outside of tests.
    pub network: Arc<dyn Network>,
    /// Other proxies on the upstream leg.
    pub parents: Parents,
    /// Where the proxy listens in the very network that it dials from (empty where it listens inside a namespace): never
    /// dialled.
    pub itself: Vec<SocketAddr>,
    /// Bounds.
    pub limits: Limits,
    /// How much memory this process has allocated.
    pub allocated: Allocated,
}

/// The proxy of one jail.
pub(crate) struct Proxy {
    config: Config,
    pool: Arc<upstream::pool::Pool>,
    /// Places for requests.
    requests: Arc<Semaphore>,
    /// What goes on beside the connections that began it: streams of HTTP/2, tunnels.
    tasks: tasks::Tasks,
    crowd: Arc<overload::clients::Crowd>,
    memory: Arc<overload::memory::Memory>,
    windows: overload::h2_windows::Counts,
}

impl Proxy {
    /// A proxy that has yet to run.
    pub(crate) fn new(config: Config) -> Arc<Proxy> {
        let memory = overload::memory::Memory::new(config.allocated, config.limits.memory);
        let windows = overload::h2_windows::Counts::default();
        let dialler = upstream::dial::Dialler {
            network: config.network.clone(),
            tls: config.upstream_tls.clone(),
            parents: config.parents.clone(),
            itself: config.itself.clone(),
            limits: config.limits,
            room: Arc::new(Semaphore::new(config.limits.upstreams)),
            memory: memory.clone(),
        };
        let pool = Arc::new(upstream::pool::Pool::new(dialler, windows.clone()));
        Arc::new(Proxy {
            requests: Arc::new(Semaphore::new(config.limits.requests)),
            crowd: overload::clients::Crowd::new(&config.limits),
            memory,
            windows,
            config,
            pool,
            tasks: tasks::Tasks::default(),
        })
    }

    /// Serves `listeners` until `shutdown` resolves, then gives open connections [`Limits::grace`] to end by themselves.
    /// Fails only if a listener cannot be handed to the runtime.
    pub(crate) async fn run(
        self: Arc<Self>,
        listeners: Vec<std::net::TcpListener>,
        shutdown: impl Future<Output = ()>,
    ) -> std::io::Result<()> {
        let room = Arc::new(Semaphore::new(self.config.limits.connections));
        let (connections, mut opened) = tokio::sync::mpsc::channel(64);
        let mut accepting = JoinSet::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let (proxy, room, connections) = (self.clone(), room.clone(), connections.clone());
            accepting.spawn(async move {
                loop {
                    let (stream, peer) = accept(&listener).await;
                    // Beyond the bound no more than this one is accepted: the kernel's queue fills, then refuses.
                    let place = match room.clone().try_acquire_owned() {
                        Ok(place) => Ok(place),
                        Err(_) => {
                            proxy.crowd.make_place();
                            room.clone().acquire_owned().await
                        }
                    };
                    let Ok(place) = place else { return };
                    let proxy = proxy.clone();
                    let guest = proxy.crowd.enter(proxy.has_strangers());
                    // Boxed: the channel keeps room for dozens of them, and each is large.
                    let connection = Box::pin(async move {
                        downstream::connection::serve(proxy, stream, peer, guest).await;
                        drop(place);
                    });
                    if connections.send(connection).await.is_err() {
                        return;
                    }
                }
            });
        }
        let mut serving = JoinSet::new();
        let mut sweep = tokio::time::interval((self.config.limits.idle / 4).max(Duration::from_secs(1)));
        tokio::pin!(shutdown);
        let keeping = self.crowd.keep_within(&self.memory, || self.is_unused());
        tokio::pin!(keeping);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(connection) = opened.recv() => { serving.spawn(connection); }
                Some(_) = serving.join_next() => {}
                _ = sweep.tick() => {
                    self.pool.sweep();
                    if self.is_unused() {
                        self.memory.measure();
                    }
                }
                () = &mut keeping => {}
            }
        }
        accepting.shutdown().await;
        // Those that were accepted and not yet begun are owed a record too.
        while let Ok(connection) = opened.try_recv() {
            serving.spawn(connection);
        }
        let all = async { while serving.join_next().await.is_some() {} };
        let all = async { tokio::join!(all, self.tasks.ended()) };
        let _ = tokio::time::timeout(self.config.limits.grace, all).await;
        // Whoever is left is aborted, and its requests are recorded as cut short.
        serving.shutdown().await;
        self.tasks.shutdown().await;
        Ok(())
    }
}

impl Proxy {
    /// Whether clients have to show a token.
    fn has_strangers(&self) -> bool {
        matches!(
            &self.config.clients,
            Clients::Explicit(Guard::Token(_) | Guard::TokenOrSelf(_))
        )
    }

    fn is_unused(&self) -> bool {
        self.crowd.is_empty() && self.tasks.are_none()
    }
}

/// The next connection, however long that takes: an error ends no accept loop.
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

/// How long to wait before the next try: not at all where the client gave up before it was accepted. Anything else is want
/// of descriptors or memory, and stays so for a while: the listener stays readable meanwhile and would make its loop spin.
fn pause_after(error: &std::io::Error) -> Option<Duration> {
    (error.kind() != std::io::ErrorKind::ConnectionAborted).then_some(Duration::from_millis(100))
}
