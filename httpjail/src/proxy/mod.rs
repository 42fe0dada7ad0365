//! From an accepted connection to a verdict on the wire.
//!
//! A connection: its flow is taken once, its first bytes tell what it speaks, TLS is terminated with a leaf for the name it
//! asked for, and hyper serves it with one `Interceptor`. A request: it becomes a canonical [`crate::policy::Target`], which is
//! judged and then either refused in words or written anew to an upstream whose addresses and certificate were checked.
//! Nothing is dialled before a request was allowed, and no error on the way lets one through.

mod address;
mod body;
mod client;
mod connection;
mod detect;
mod dial;
mod drain;
mod explicit;
mod forward;
mod headers;
mod identity;
mod interceptor;
mod judge;
mod peer;
mod pool;
mod prefixed;
mod refusal;
#[cfg(test)]
mod tests;
mod tunnel;
mod upgrade;

pub use address::{Class, classify};
pub use dial::{Doing, HostNetwork, Network};
pub use explicit::{Guard, Token};

use crate::approve::Desk;
use crate::audit::Sink;
use crate::net::{NameSource, OriginalDstSource, ProgramSource};
use crate::policy::Policy;
use crate::tls::{Leaves, UpstreamTls};
use arc_swap::ArcSwap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Bounds of a message's head, on both legs.
const HEADERS_MAX: usize = 200;
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// What is done with a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What is denied is refused.
    Enforce,
    /// Requests are judged and recorded with their verdict, and forwarded all the same.
    DryRun,
    /// Requests are not judged; all are recorded and forwarded.
    LogOnly,
}

/// How clients come to a proxy.
pub enum Clients {
    /// Without their knowledge: the source tells where each connection was meant to go.
    Steered(Arc<dyn OriginalDstSource>),
    /// Knowing that it is one; the guard says who may.
    Explicit(Guard),
}

/// How long and how much. What the jail sends grows nothing beyond these.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Client connections at a time; more wait in the listen queue.
    pub connections: usize,
    /// From an accepted connection, or the end of a request on it, to the end of the next request's head.
    pub header: Duration,
    /// A TLS handshake with a client.
    pub handshake: Duration,
    /// Each of: resolving a name, connecting to it, the TLS handshake with it.
    pub connect: Duration,
    /// From a request sent upstream to the head of its answer.
    pub response: Duration,
    /// How long an unused upstream connection is kept.
    pub idle: Duration,
    /// How many unused HTTP/1 connections to one host are kept.
    pub idle_per_host: usize,
    /// To how many hosts connections are kept.
    pub idle_hosts: usize,
    /// How long connections may go on after the shutdown was asked for.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 1024,
            header: Duration::from_secs(60),
            handshake: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            // Long polls and models that think: whoever waits so long may give up first.
            response: Duration::from_secs(30 * 60),
            idle: Duration::from_secs(60),
            idle_per_host: 16,
            idle_hosts: 256,
            grace: Duration::from_millis(500),
        }
    }
}

/// What a proxy is made of.
pub struct Config {
    /// The rules in force; swapped whole on a reload.
    pub policy: Arc<ArcSwap<Policy>>,
    /// Where requests go that no rule matches, if anybody is asked.
    pub desk: Option<Arc<Desk>>,
    /// What is done with their verdicts.
    pub mode: Mode,
    /// Whether TLS is decrypted. If not it is judged by host name alone.
    pub intercept_tls: bool,
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
    /// Where the proxy listens in the very network that it dials from (empty where it listens inside a namespace): never
    /// dialled.
    pub itself: Vec<SocketAddr>,
    /// Bounds.
    pub limits: Limits,
}

/// The proxy of one jail.
pub struct Proxy {
    config: Config,
    pool: Arc<pool::Pool>,
}

impl Proxy {
    /// A proxy that has yet to run.
    pub fn new(config: Config) -> Arc<Proxy> {
        let dialler = dial::Dialler {
            network: config.network.clone(),
            itself: config.itself.clone(),
            connect_timeout: config.limits.connect,
        };
        let bounds = pool::Bounds {
            idle_per_host: config.limits.idle_per_host,
            hosts: config.limits.idle_hosts,
            idle_timeout: config.limits.idle,
        };
        let pool = Arc::new(pool::Pool::new(dialler, config.upstream_tls.clone(), bounds));
        Arc::new(Proxy { config, pool })
    }

    /// Serves `listeners` until `shutdown` resolves, then gives open connections [`Limits::grace`] to end by themselves.
    /// Fails only if a listener cannot be handed to the runtime.
    pub async fn run(
        self: Arc<Self>,
        listeners: Vec<std::net::TcpListener>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let room = Arc::new(Semaphore::new(self.config.limits.connections));
        let (connections, mut opened) = tokio::sync::mpsc::channel(64);
        let mut accepting = JoinSet::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let (proxy, room, connections) = (self.clone(), room.clone(), connections.clone());
            accepting.spawn(async move {
                loop {
                    // Beyond the bound nothing is accepted: the kernel's queue fills, then refuses.
                    let Ok(place) = room.clone().acquire_owned().await else {
                        return;
                    };
                    let (stream, peer) = accept(&listener).await;
                    let proxy = proxy.clone();
                    let connection = async move {
                        connection::serve(proxy, stream, peer).await;
                        drop(place);
                    };
                    if connections.send(connection).await.is_err() {
                        return;
                    }
                }
            });
        }
        let mut serving = JoinSet::new();
        let mut sweep = tokio::time::interval(self.config.limits.idle.max(Duration::from_secs(1)));
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(connection) = opened.recv() => { serving.spawn(connection); }
                Some(_) = serving.join_next() => {}
                _ = sweep.tick() => self.pool.sweep(),
            }
        }
        accepting.shutdown().await;
        let all = async { while serving.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(self.config.limits.grace, all).await;
        // Whoever is left is aborted, and its requests are recorded as cut short.
        serving.shutdown().await;
        Ok(())
    }
}

/// The next connection, however long that takes: an error ends no accept loop.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client was faster. Anything else is want of descriptors or memory, and stays so for a while: the
            // listener stays readable meanwhile and would make this loop spin.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!("accepting a connection failed: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
