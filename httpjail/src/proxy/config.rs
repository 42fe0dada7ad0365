//! What a proxy is built from.

use crate::approve::ApprovalQueue;
use crate::audit::Sink;
use crate::net::{HostPattern, NameSource, OriginalDstSource, ProgramSource};
use crate::policy::Policy;
use crate::proxy::auth::proxy_auth::ProxyAuth;
use crate::proxy::limits::Limits;
use crate::proxy::overload::memory::Allocated;
use crate::proxy::upstream::network::Network;
use crate::proxy::upstream::proxy_env::ProxyConfig;
use crate::tls::{Leaves, UpstreamTls};
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::Arc;

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

/// How clients reach a proxy.
pub(crate) enum Clients {
    /// The kernel steers their connections here; the source tells the destination of each.
    Steered(Arc<dyn OriginalDstSource>),
    /// They know that it is a proxy; `ProxyAuth` says which may use it.
    Explicit(ProxyAuth),
}

/// What a proxy is built from.
pub(crate) struct Config {
    /// The rules in force; swapped whole on a reload.
    pub policy: Arc<ArcSwap<Policy>>,
    /// Asks about requests that no rule matches, if there is an approver.
    pub approvals: Option<Arc<ApprovalQueue>>,
    /// What is done with the verdicts.
    pub mode: Mode,
    /// Whether TLS is decrypted. If not it is judged by host name alone.
    pub intercept_tls: bool,
    /// Hosts whose TLS is not decrypted although `intercept_tls` is set.
    pub passthrough: Vec<HostPattern>,
    /// How clients reach the proxy.
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
    /// The network of the upstream leg; [`HostNetwork`](crate::proxy::HostNetwork) outside of tests.
    pub network: Arc<dyn Network>,
    /// Other proxies on the upstream leg.
    pub upstream_proxies: ProxyConfig,
    /// Where the proxy listens in the very network that it dials from (empty where it listens inside a namespace):
    /// never dialed.
    pub itself: Vec<SocketAddr>,
    /// Bounds.
    pub limits: Limits,
    /// How much memory this process has allocated.
    pub allocated: Allocated,
}
