//! The upstream leg by the network of an attached container, so that its egress rules apply and its service names work.
//!
//! The sockets come from a process that is in that network. This process stays in the host's, and has no right to leave it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Arc, Mutex};

use socket2::Socket;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::spawn_blocking;

use crate::cli::born;
use crate::config::Config;
use crate::config::options::UpstreamNetwork;
use crate::dns::{self, Configured, Families, StubResolver};
use crate::failure::Failure;
use crate::jail::attach::{Attachment, OwnNetwork};
use crate::jail::process::socket_maker::{self, Duty, SocketClient, SocketMaker, SocketServer};
use crate::net::{SocketKind, SocketSource};
use crate::proxy::{self, BoxFuture, HostNetwork};
use crate::sync::lock;

/// What the proxy's process needs to use that network.
pub(crate) struct ContainerLeg {
    /// Makes its sockets.
    pub(crate) sockets: SocketClient,
    /// The text of the container's resolv.conf(5).
    pub(crate) resolv_conf: Vec<u8>,
    /// Where the network has addresses.
    pub(crate) families: Families,
}

/// The process that will make its sockets, once the proxy's process has been forked.
pub(crate) struct Entrance {
    server: SocketServer,
    duty: Duty,
    namespace: OwnedFd,
}

/// Resolves and connects in that network.
pub(crate) struct ContainerNetwork {
    sockets: Arc<dyn SocketSource>,
    names: StubResolver,
    /// Knows which addresses are the network's own; none after an error.
    routes: Mutex<Option<Socket>>,
    /// Knows which are this host's.
    host: HostNetwork,
}

impl ContainerLeg {
    /// Prepares both ends by the network of the cgroup's processes, where it is to be used and leads out.
    ///
    /// # Errors
    /// When it is demanded and there is none, or cannot be looked at.
    pub(crate) fn wanted(config: &Config, attachment: &Attachment) -> Result<Option<(Self, Entrance)>, Failure> {
        let network = match config.upstream_network {
            UpstreamNetwork::Host => None,
            UpstreamNetwork::Auto | UpstreamNetwork::Container => {
                let given = born::directory().map(|directory| directory.join(born::RESOLV_CONF));
                attachment.own_network(given.as_deref())?
            }
        };
        if network.is_none() && config.upstream_network == UpstreamNetwork::Container {
            return Err(Failure {
                hint: Some("--upstream-network host has them reach servers by this host's".into()),
                ..Failure::new(format!(
                    "the processes in {} have no network of their own that leads out",
                    attachment.target().path().display()
                ))
            });
        }
        network.map(ContainerLeg::new).transpose()
    }

    /// Prepares both ends.
    ///
    /// # Errors
    /// When no line can be made between them.
    fn new(network: OwnNetwork) -> Result<(Self, Entrance), Failure> {
        let (sockets, server) =
            socket_maker::pair().map_err(|error| Failure::new(format!("cannot make a line: {error}")))?;
        let leg = ContainerLeg {
            sockets,
            resolv_conf: network.resolv_conf,
            families: Families {
                ipv4: network.ipv4,
                ipv6: network.ipv6,
            },
        };
        let entrance = Entrance {
            server,
            duty: Duty::Upstream(network.pass),
            namespace: network.namespace,
        };
        Ok((leg, entrance))
    }

    /// The descriptor that the proxy's process must keep.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.sockets.descriptor()
    }

    /// Begins to use it.
    ///
    /// # Errors
    /// When no socket can be had.
    pub(crate) fn open(self) -> Result<ContainerNetwork, Failure> {
        let sockets: Arc<dyn SocketSource> = Arc::new(self.sockets);
        let routes = sockets
            .socket(SocketKind::Routes)
            .map_err(|error| Failure::new(format!("cannot make a socket in the network of the container: {error}")))?;
        let network = dns::Network::Of(Arc::clone(&sockets));
        Ok(ContainerNetwork {
            names: StubResolver::new(&self.resolv_conf, network, self.families),
            sockets,
            routes: Mutex::new(Some(routes)),
            host: HostNetwork::new(false),
        })
    }
}

impl Entrance {
    /// Forks the process that makes the sockets.
    ///
    /// # Errors
    /// Those of the fork.
    pub(crate) fn open(self) -> Result<SocketMaker, Failure> {
        let made = self.server.open(self.duty, vec![self.namespace]);
        made.map_err(|error| Failure::new(format!("cannot reach into the network of the container: {error}")))
    }
}

impl ContainerNetwork {
    /// Where the resolver for the container's own programs asks (`--dns relay`).
    pub(crate) fn name_servers(&self) -> (Configured, dns::Network) {
        (self.names.servers(), dns::Network::Of(Arc::clone(&self.sockets)))
    }

    fn is_own_there(&self, address: IpAddr) -> bool {
        let mut routes = lock(&self.routes);
        match routes.as_ref().map(|routes| proxy::is_local_in(routes, address)) {
            Some(Ok(local)) => local,
            // An answer that was not read would be taken for the next question's. From here on every address counts as its own.
            Some(Err(_)) | None => {
                *routes = None;
                true
            }
        }
    }
}

impl proxy::Network for ContainerNetwork {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(self.names.addresses(name))
    }

    /// What is this host's stays so: the container's network may lead to it.
    fn is_own(&self, address: IpAddr) -> bool {
        self.is_own_there(address) || self.host.is_own(address)
    }

    fn is_the_clients(&self) -> bool {
        true
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> {
        let sockets = Arc::clone(&self.sockets);
        Box::pin(async move {
            let kind = SocketKind::Tcp {
                ipv6: address.is_ipv6(),
            };
            let made = spawn_blocking(move || sockets.socket(kind))
                .await
                .map_err(io::Error::other)?;
            TcpSocket::from_std_stream(made?.into()).connect(address).await
        })
    }
}
