//! What the bench of minting drives (`benches/minting.rs`): leaves by an authority that nobody trusts.
//!
//! Built for it and for tests only.

use super::{CertificateAuthority, Leaves};
use crate::net::Host;
use rustls::ServerConfig;
use std::sync::Arc;

/// A new authority and its leaves.
#[derive(Debug)]
pub struct Minting(Leaves);

impl Minting {
    /// Makes the authority.
    #[must_use]
    pub fn with_new_authority() -> Minting {
        let authority = CertificateAuthority::generate().expect("an authority");
        Minting(Leaves::new(Arc::new(authority)).expect("its leaves"))
    }

    /// Returns the configuration with `host`'s leaf, as the proxy asks for it on each connection.
    #[must_use]
    pub fn config_for(&self, host: &Host) -> Arc<ServerConfig> {
        self.0.config_for(host).expect("a leaf")
    }
}
