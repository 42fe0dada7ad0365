//! TLS with servers: which authorities are trusted, and why a handshake failed, in words that a user can act on.
//!
//! The jailed program sees only httpjail's certificates, so the proxy must verify the server in its place (docs/threat-model.md
//! T01). It trusts the system's roots and the authorities that the user names, but never httpjail's own authority: that key is on this
//! machine, and a thief could deceive the jail with it, but not the proxy. Roots are read when the first request needs them. There
//! is no option to turn verification off.

mod fault;
mod given;

pub(crate) use fault::{UpstreamFault, explain_io};

use super::{CertificateAuthority, provider};
use given::Given;
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Why upstream TLS cannot be used. All HTTPS requests fail then.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// An authority named by the user cannot be read.
    #[error("cannot use the authorities in {}: {reason}", file.display())]
    Extra { file: PathBuf, reason: String },
    /// There are no roots.
    #[error("no trusted root certificate was found on this system, so no HTTPS server can be verified{reasons}")]
    NoRoots {
        /// Why the roots could not be read, beginning with a colon, or empty.
        reasons: String,
    },
    /// rustls refused its own configuration.
    #[error("cannot prepare upstream TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// No verifier can be made from the roots.
    #[error("cannot prepare upstream TLS: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// A PEM file that the user named, as it was read.
#[derive(Debug, Clone)]
pub(crate) struct AuthorityFile {
    /// The name that the user gave.
    pub path: PathBuf,
    /// Its content.
    pub pem: Vec<u8>,
}

/// Client configurations that verify servers, made on first use.
#[derive(Debug)]
pub(crate) struct UpstreamTls {
    extra: Vec<CertificateDer<'static>>,
    own: Option<CertificateDer<'static>>,
    configs: OnceLock<Result<Configs, UpstreamError>>,
}

#[derive(Debug, Clone)]
struct Configs {
    h1h2: Arc<ClientConfig>,
    h1: Arc<ClientConfig>,
}

impl UpstreamTls {
    /// Takes the files of `--upstream-ca`: authorities to trust besides the system's, or certificates of servers. Each has at least one
    /// certificate. `own` is httpjail's authority, which is never trusted for an upstream, even if the user installed it.
    ///
    /// Reads no file. The first call of a `config_*` reads the system's roots.
    ///
    /// # Errors
    /// Fails when a file has no certificate, or one that cannot be used for verification.
    pub(crate) fn new(files: &[AuthorityFile], own: Option<&CertificateAuthority>) -> Result<Self, UpstreamError> {
        let mut extra = Vec::new();
        for AuthorityFile { path, pem } in files {
            let fault = |reason: String| UpstreamError::Extra {
                file: path.clone(),
                reason,
            };
            let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
            let found = found.map_err(|err| fault(err.to_string()))?;
            if found.is_empty() {
                return Err(fault("it holds no certificate in PEM form".into()));
            }
            let mut trial = RootCertStore::empty();
            for certificate in &found {
                trial.add(certificate.clone()).map_err(|err| fault(err.to_string()))?;
            }
            extra.extend(found);
        }
        Ok(UpstreamTls {
            extra,
            own: own.map(|own| own.certificate().clone()),
            configs: OnceLock::new(),
        })
    }

    /// Returns the configuration for HTTP/2 or HTTP/1.1, as the server chooses by ALPN.
    pub(crate) fn config_h1h2(&self) -> Result<Arc<ClientConfig>, UpstreamError> {
        self.configs().map(|configs| Arc::clone(&configs.h1h2))
    }

    /// Returns the configuration for HTTP/1.1 only (a WebSocket's upgrade).
    pub(crate) fn config_h1(&self) -> Result<Arc<ClientConfig>, UpstreamError> {
        self.configs().map(|configs| Arc::clone(&configs.h1))
    }

    fn configs(&self) -> Result<&Configs, UpstreamError> {
        let made = self.configs.get_or_init(|| {
            let system = rustls_native_certs::load_native_certs();
            let reasons = system.errors.iter().map(ToString::to_string).collect::<Vec<_>>();
            for reason in &reasons {
                tracing::warn!("system root certificates: {reason}");
            }
            self.build(system.certs, &reasons)
        });
        made.as_ref().map_err(Clone::clone)
    }

    fn build(&self, system: Vec<CertificateDer<'static>>, reasons: &[String]) -> Result<Configs, UpstreamError> {
        let mut roots = RootCertStore::empty();
        let trusted = system.into_iter().chain(self.extra.iter().cloned());
        // Old root files have certificates that webpki cannot parse. Those are left out.
        roots.add_parsable_certificates(trusted.filter(|certificate| Some(certificate) != self.own.as_ref()));
        if roots.is_empty() {
            let reasons = reasons.iter().map(|reason| format!(": {reason}")).collect();
            return Err(UpstreamError::NoRoots { reasons });
        }
        let given = self.extra.iter();
        let given = given.filter(|certificate| Some(*certificate) != self.own.as_ref());
        let verifier = Given {
            usual: WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()?,
            certificates: given.cloned().collect(),
        };
        let mut h1 = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(NoClientCertificate));
        let mut h1h2 = h1.clone();
        h1.alpn_protocols = vec![b"http/1.1".to_vec()];
        h1h2.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Configs {
            h1h2: Arc::new(h1h2),
            h1: Arc::new(h1),
        })
    }
}

tokio::task_local! {
    /// Whether the server requested a client certificate in the current handshake.
    static REQUESTED: Cell<bool>;
}

/// Has no client certificate, but notes that a server requested one. A TLS 1.3 server may close the connection without an alert if it
/// gets none.
#[derive(Debug)]
struct NoClientCertificate;

impl ResolvesClientCert for NoClientCertificate {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // It fails outside of `noticing`, where the note is not needed.
        let _ = REQUESTED.try_with(|requested| requested.set(true));
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Returns the result of `handshake`, and whether the server requested a client certificate in it.
pub(crate) async fn noticing<T>(handshake: impl Future<Output = T>) -> (T, bool) {
    let made = async {
        let made = handshake.await;
        (made, REQUESTED.with(Cell::get))
    };
    REQUESTED.scope(Cell::new(false), made).await
}

#[cfg(test)]
mod tests;
