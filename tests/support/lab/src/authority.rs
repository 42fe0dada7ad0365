//! The world's own certificate authority: signs a leaf for whatever name a client asks for.
//!
//! httpjail trusts it through `--upstream-ca`; the jailed programs never see it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Signs for any name; keeps what it signed.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    leaf_key: KeyPair,
    configs: Mutex<HashMap<String, Arc<ServerConfig>>>,
}

impl Authority {
    pub(crate) fn new() -> Result<Authority> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "The lab's authority");
        let key = KeyPair::generate().context("generate the authority's key")?;
        let issuer = CertifiedIssuer::self_signed(params, key).context("sign the authority's certificate")?;
        let leaf_key = KeyPair::generate().context("generate the leaves' key")?;
        Ok(Authority {
            issuer,
            leaf_key,
            configs: Mutex::new(HashMap::new()),
        })
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A leaf for `name` with the authority's certificate behind it, and its key; both in PEM.
    pub(crate) fn files(&self, name: &str) -> Result<(String, String)> {
        Ok((
            self.leaf(name)?.pem() + &self.issuer.pem(),
            self.leaf_key.serialize_pem(),
        ))
    }

    /// TLS for `name`, or for the address that was dialled if the client named none.
    pub(crate) fn config(&self, name: Option<&str>, local: IpAddr) -> Result<Arc<ServerConfig>> {
        let name = name.map_or_else(|| local.to_canonical().to_string(), str::to_owned);
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(&name) {
            return Ok(Arc::clone(config));
        }
        let leaf = self.leaf(&name)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("choose the protocol versions")?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone(), self.issuer.der().clone()], key)
            .context("build the server's TLS")?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::clone(configs.entry(name).or_insert(Arc::new(config))))
    }

    fn leaf(&self, name: &str) -> Result<Certificate> {
        CertificateParams::new(vec![name.to_owned()])
            .and_then(|params| params.signed_by(&self.leaf_key, &self.issuer))
            .with_context(|| format!("sign a leaf for {name}"))
    }
}
