//! What all connections of one proxy share: the configuration, the pool, the permits, the running tasks.

use crate::counts::Counts;
use crate::proxy::auth::proxy_auth::ProxyAuth;
use crate::proxy::config::{Clients, Config};
use crate::proxy::counters::Counters;
use crate::proxy::io::pipes::Pipes;
use crate::proxy::overload::clients::ConnectedClients;
use crate::proxy::overload::h2_windows::ConnectionCounts;
use crate::proxy::overload::memory::Memory;
use crate::proxy::tasks::Tasks;
use crate::proxy::upstream::dial::Connector;
use crate::proxy::upstream::kept::KeptConnections;
use crate::proxy::upstream::open::ConnectionFactory;
use crate::proxy::upstream::pool::Pool;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What all connections of one proxy share.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) pool: Arc<Pool>,
    /// Permits for requests.
    pub(crate) requests: Arc<Semaphore>,
    /// What goes on beside the connections that began it: streams of HTTP/2, tunnels.
    pub(crate) tasks: Tasks,
    pub(crate) clients: Arc<ConnectedClients>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) windows: ConnectionCounts,
    pub(crate) pipes: Arc<Pipes>,
    pub(crate) counters: Counters,
}

impl Context {
    pub(crate) fn new(config: Config) -> Arc<Context> {
        let memory = Memory::new(config.allocated, config.limits.memory);
        let windows = ConnectionCounts::default();
        let connector = Connector {
            network: config.network.clone(),
            tls: config.upstream_tls.clone(),
            upstream_proxies: config.upstream_proxies.clone(),
            itself: config.itself.clone(),
            limits: config.limits,
            kept: KeptConnections::new(&config.limits),
            memory: memory.clone(),
        };
        Arc::new(Context {
            requests: Arc::new(Semaphore::new(config.limits.requests)),
            clients: ConnectedClients::new(&config.limits),
            pool: Arc::new(Pool::new(ConnectionFactory {
                connector,
                windows: windows.clone(),
            })),
            tasks: Tasks::default(),
            memory,
            windows,
            pipes: Arc::default(),
            counters: Counters::new(),
            config,
        })
    }

    /// Returns whether clients have to show a token.
    pub(crate) fn has_strangers(&self) -> bool {
        matches!(
            &self.config.clients,
            Clients::Explicit(ProxyAuth::Token(_) | ProxyAuth::TokenOrSelf(_))
        )
    }

    /// Returns what was counted so far, and what there is now.
    pub(crate) fn counts(&self) -> Counts {
        let (upstreams, upstreams_dialed) = self.pool.connections();
        Counts {
            clients: self.clients.count(),
            upstreams,
            upstreams_dialed,
            ..self.counters.counts()
        }
    }

    /// Returns whether there is neither a connection nor a task.
    pub(crate) fn is_unused(&self) -> bool {
        self.clients.is_empty() && self.tasks.are_none()
    }
}
