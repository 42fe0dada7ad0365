//! The certificates that the jail sees: one leaf for each host, issued on demand and cached.
//!
//! The proxy reads a ClientHello and decides which host the connection is for: the SNI, or otherwise the original address or the
//! name behind it. [`Leaves::config_for`] returns a whole server configuration for that host with a single certificate, so nothing
//! that the jail sends later can choose another one. All configurations share their ciphers and one ticket key. A ticket contains
//! its host and is not valid for another (docs/threat-model.md T10).

use super::authority::{LEAF_LIFE, unix_now};
use super::{AuthorityError, CertificateAuthority, provider};
use crate::net::{Host, HostError};
use quick_cache::sync::Cache;
use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::SingleCertAndKey;
use std::sync::Arc;

/// How many leaves are cached.
const CACHED_HOSTS: usize = 4096;

/// Why there is no certificate for a host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeafError {
    /// The authority could not sign.
    #[error("no certificate for {host}: {source}")]
    Issue { host: String, source: AuthorityError },
    /// rustls refused its own configuration, or the system gave no random bytes.
    #[error("cannot prepare TLS for the jail: {0}")]
    Tls(#[from] rustls::Error),
}

/// Server configurations by host, each with its leaf: at most 4096, and each issued once even if many connections ask at a time.
pub(crate) struct Leaves {
    authority: Arc<CertificateAuthority>,
    template: ServerConfig,
    tickets: Arc<dyn ProducesTickets>,
    cache: Cache<Host, Leaf>,
}

#[derive(Clone)]
struct Leaf {
    config: Arc<ServerConfig>,
    issued: u64,
}

impl Leaf {
    /// Returns true in the first half of the leaf's life. After the clock was set back the leaf may not be valid yet.
    fn serves(&self, now: u64) -> bool {
        (self.issued..self.issued + LEAF_LIFE / 2).contains(&now)
    }
}

impl Leaves {
    /// Prepares to serve the jail with leaves of `authority`: TLS 1.2 and 1.3, `h2` and `http/1.1`.
    pub(crate) fn new(authority: Arc<CertificateAuthority>) -> Result<Self, LeafError> {
        Self::with_capacity(authority, CACHED_HOSTS)
    }

    fn with_capacity(authority: Arc<CertificateAuthority>, capacity: usize) -> Result<Self, LeafError> {
        let mut template = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::server::ResolvesServerCertUsingSni::new()));
        template.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // The server's order of cipher suites: client and proxy share a processor, and scanners want the server to impose an order.
        template.ignore_client_order = true;
        // Tickets only: they take no memory here, and a session cache could not distinguish hosts without an SNI.
        template.session_storage = Arc::new(NoServerSessionStorage {});
        template.send_tls13_tickets = 1;
        Ok(Leaves {
            authority,
            template,
            tickets: Ticketer::new()?,
            cache: Cache::new(capacity),
        })
    }

    /// Returns the server configuration whose only certificate is that of `host`. Costs a look-up if the host is cached, otherwise one
    /// signature. Waits only for another thread that issues a leaf for the same host.
    ///
    /// `host` is the host that the connection is judged by: the SNI that [`sni_host`] returned, or the original destination.
    pub(crate) fn config_for(&self, host: &Host) -> Result<Arc<ServerConfig>, LeafError> {
        self.config_at(host, unix_now())
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.cache.len()
    }

    fn config_at(&self, host: &Host, now: u64) -> Result<Arc<ServerConfig>, LeafError> {
        if let Some(leaf) = self.cache.get(host) {
            if leaf.serves(now) {
                return Ok(leaf.config);
            }
            self.cache.remove_if(host, |leaf| !leaf.serves(now));
        }
        self.cache
            .get_or_insert_with(host, || self.issue(host, now))
            .map(|leaf| leaf.config)
    }

    fn issue(&self, host: &Host, now: u64) -> Result<Leaf, LeafError> {
        let issued = self.authority.issue(host);
        let key = issued.map_err(|source| LeafError::Issue {
            host: format!("{host:?}"),
            source,
        })?;
        let mut config = self.template.clone();
        config.cert_resolver = Arc::new(SingleCertAndKey::from(key));
        config.ticketer = Arc::new(HostTickets {
            tickets: Arc::clone(&self.tickets),
            host: tag(host),
        });
        Ok(Leaf {
            config: Arc::new(config),
            issued: now,
        })
    }
}

impl std::fmt::Debug for Leaves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaves")
            .field("authority", &self.authority)
            .field("hosts", &self.cache.len())
            .finish()
    }
}

/// Tickets that are valid only for the host that issued them.
///
/// rustls compares the SNI, as RFC 6066 section 3 requires, but cannot distinguish two hosts without an SNI.
#[derive(Debug)]
struct HostTickets {
    tickets: Arc<dyn ProducesTickets>,
    host: Vec<u8>,
}

impl ProducesTickets for HostTickets {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.encrypt(&[&self.host, plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.tickets
            .decrypt(cipher)?
            .strip_prefix(self.host.as_slice())
            .map(<[u8]>::to_vec)
    }
}

/// Returns bytes for the host that are not a prefix of another host's: kind and length come first.
fn tag(host: &Host) -> Vec<u8> {
    let (kind, bytes) = match host {
        Host::Name(name) => (0, name.as_bytes().to_vec()),
        Host::V4(address) => (4, address.octets().to_vec()),
        Host::V6(address) => (6, address.octets().to_vec()),
    };
    let mut tag = vec![kind];
    tag.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    tag.extend(bytes);
    tag
}

/// Returns the host of a ClientHello's server name, or `None` if it has none.
///
/// An SNI may only contain a name (RFC 6066 section 3 excludes addresses). A name that cannot be in a URL is refused: a wildcard, an
/// empty label, a name that is too long. rustls itself refuses most of these before.
pub(crate) fn sni_host(sni: Option<&str>) -> Result<Option<Host>, HostError> {
    let Some(sni) = sni else { return Ok(None) };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !sni.bytes().all(is_name) {
        return Err(HostError::Malformed("the server name is not a host name"));
    }
    match Host::parse(sni)? {
        name @ Host::Name(_) => Ok(Some(name)),
        Host::V4(_) | Host::V6(_) => Err(HostError::Malformed("the server name is an address")),
    }
}

#[cfg(test)]
mod tests;
