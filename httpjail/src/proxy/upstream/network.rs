//! The network of the upstream leg: the host's, or that of an attached container. Tests have their own.

use crate::proxy::upstream::address;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// How many names may be resolved at a time. `getaddrinfo` holds a thread until it is done, also when its request was
/// canceled: without a bound, requests that are sent and canceled at once would queue up look-ups without end.
const LOOKUPS_MAX: usize = 256;

/// A boxed future.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Resolves and connects.
pub(crate) trait Network: Send + Sync + 'static {
    /// Returns the addresses of `name`, best first.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;

    /// Returns whether `address` is this host's.
    fn is_own(&self, address: IpAddr) -> bool;
    /// Returns whether it is that of a jail, in which the made-up addresses are those of the jail's own resolver and
    /// every address leads to the jail's proxy, which judges what goes there.
    fn is_jail(&self) -> bool {
        false
    }

    /// Returns whether the clients are in it too. Then its loopback is theirs, and nothing of this process's environment means
    /// what is there.
    fn is_the_clients(&self) -> bool {
        false
    }

    /// Connects to an address that may be dialed.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>>;
}

/// The host's own resolver (`getaddrinfo`) and routes.
#[derive(Debug, Clone)]
pub(crate) struct HostNetwork {
    lookups: Arc<Semaphore>,
    jail: bool,
}

impl HostNetwork {
    /// That of this process; `jail` if it is in one.
    pub(crate) fn new(jail: bool) -> Self {
        HostNetwork {
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            jail,
        }
    }
}

impl Network for HostNetwork {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let place = self.lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
            let name = name.to_owned();
            let look_up = move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                drop(place);
                Ok(found?.map(|answer| answer.ip()).collect())
            };
            tokio::task::spawn_blocking(look_up).await.map_err(io::Error::other)?
        })
    }

    fn is_own(&self, address: IpAddr) -> bool {
        address::is_own(address)
    }

    fn is_jail(&self) -> bool {
        self.jail
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(address))
    }
}
