//! Trust: our authority, the leaves it signs, the roots we verify upstreams against, the bundle the child sees.
//!
//! TLS ends twice at the proxy. Towards the jail we are the server: [`Leaves`] gives each host a certificate that
//! [`CertificateAuthority`] signed, and only the jail is told to trust that authority ([`trust`]). Towards the world we
//! are the client, and the jailed program can no longer see who answered: [`UpstreamTls`] verifies in its place, against
//! the system's roots and never against our own authority. `store` keeps the authority between runs.

mod authority;
mod leaf;
#[cfg(unix)]
pub(crate) mod store;
#[cfg(not(unix))]
#[path = "store/plain.rs"]
pub mod store;
pub(crate) mod trust;
mod upstream;

pub(crate) use authority::{AuthorityError, CertificateAuthority};
pub(crate) use leaf::{Leaves, sni_host};
pub(crate) use upstream::{AuthorityFile, UpstreamError, UpstreamFault, UpstreamTls, explain_io, noticing};

use rustls::crypto::CryptoProvider;
use std::sync::{Arc, LazyLock};

/// ring's primitives, with X25519 in front of the other groups: on the local leg a handshake costs little else.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        use rustls::crypto::ring::{self, kx_group};
        let mut provider = ring::default_provider();
        provider.kx_groups = vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}

#[cfg(test)]
mod testing;
