//! Trust: httpjail's authority, the leaves that it signs, the roots for upstreams, the bundle that the jailed command sees.
//!
//! The proxy ends TLS on both sides. Towards the jail it is the server: [`Leaves`] gives each host a certificate that
//! [`CertificateAuthority`] signed, and only the jail trusts that authority ([`trust`]). Towards the server it is the client. The
//! jailed program cannot see the server's certificate, so [`UpstreamTls`] verifies it: against the system's roots, never against
//! httpjail's own authority. `store` keeps the authority between runs.

mod authority;
mod leaf;
#[cfg(any(test, feature = "fuzzing"))]
pub mod minting;
#[cfg(unix)]
pub(crate) mod store;
#[cfg(not(unix))]
#[path = "store/plain.rs"]
pub(crate) mod store;
pub(crate) mod trust;
mod upstream;

pub(crate) use authority::{AuthorityError, CertificateAuthority};
pub(crate) use leaf::{Leaves, sni_host};
pub(crate) use upstream::{AuthorityFile, UpstreamError, UpstreamFault, UpstreamTls, explain_io, noticing};

use rustls::crypto::CryptoProvider;
use std::sync::{Arc, LazyLock};

/// Returns ring's primitives, with X25519 before the other groups: the group is most of the cost of a local handshake.
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
