//! The upstream side of TLS: who we trust out there, and why a handshake failed, said so that a person can act on it.
//!
//! The jailed program sees only our certificates, so the proxy must verify in its place (docs/threat-model.md T01): against the
//! system's roots and the authorities that the user named, never against our own: its key lies on this machine, and who
//! steals it may deceive the jail, but not us. Roots are read when the first request needs them, not at start. There is no switch to turn
//! verification off.

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

/// Why upstream TLS cannot be used. HTTPS requests fail as long as it stands.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// An authority named by the user cannot be read.
    #[error("cannot use the authorities in {}: {reason}", file.display())]
    Extra {
        /// The file that it stands in.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing to verify against.
    #[error("no trusted root certificate was found on this system, so no HTTPS server can be verified{reasons}")]
    NoRoots {
        /// What kept the roots from being read, beginning with a colon, or nothing.
        reasons: String,
    },
    /// rustls refused its own configuration.
    #[error("cannot prepare upstream TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// There are roots, and no verifier can be made of them.
    #[error("cannot prepare upstream TLS: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// A PEM file that the user named, as it was read.
#[derive(Debug, Clone)]
pub(crate) struct AuthorityFile {
    /// What it was called.
    pub path: PathBuf,
    /// What stands in it.
    pub pem: Vec<u8>,
}

/// TLS towards the world: client configurations that verify, made when first needed.
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
    /// Takes the files of authorities to trust beside the system's (`--upstream-ca`), each with one certificate at
    /// least; also of servers to trust. `own` is the authority that never vouches for an upstream, even if the user installed it system-wide.
    ///
    /// Reads no file; the system's roots are read by the first call of a `config_*`.
    ///
    /// # Errors
    /// When a file holds no certificate, or one that nothing can be verified by.
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

    /// For clients that speak HTTP/2 or HTTP/1.1, as the server chooses by ALPN.
    pub(crate) fn config_h1h2(&self) -> Result<Arc<ClientConfig>, UpstreamError> {
        self.configs().map(|configs| Arc::clone(&configs.h1h2))
    }

    /// For clients that must speak HTTP/1.1 (a WebSocket's upgrade).
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
        // Old root files hold certificates that webpki cannot read: those are left out, the others serve.
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
            .with_client_cert_resolver(Arc::new(Nobody));
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
    /// Whether a server has asked who we are, in the handshake that is being made.
    static ASKED: Cell<bool>;
}

/// The client certificate that we have for a server: none. It only notices the question, which a server of TLS 1.3 may ask
/// and then, without a word, hang up on who has no answer.
#[derive(Debug)]
struct Nobody;

impl ResolvesClientCert for Nobody {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // Outside of `noticing` nobody wants to know.
        let _ = ASKED.try_with(|asked| asked.set(true));
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// What comes of `handshake`, and whether the server asked for a client certificate in it.
pub(crate) async fn noticing<T>(handshake: impl Future<Output = T>) -> (T, bool) {
    let made = async {
        let made = handshake.await;
        (made, ASKED.with(Cell::get))
    };
    ASKED.scope(Cell::new(false), made).await
}

#[cfg(test)]
mod tests;
