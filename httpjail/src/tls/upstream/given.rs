//! Accepts a server's certificate that the user named itself, byte for byte (`--upstream-ca`).
//!
//! `openssl req -x509` makes certificates that are marked as an authority's, and internal servers use them as their own. The usual
//! verifier refuses these, even if the user named that very certificate. This verifier accepts it, as other clients do, and also
//! one whose issuer is unknown. It still checks the certificate's validity and names.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;

/// The usual verifier, and the certificates that the user named.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) usual: Arc<WebPkiServerVerifier>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

/// Returns true if a server was refused only because no authority signed its certificate.
///
/// webpki checks the server's own certificate first, its validity before its usage, and its issuer after that. So with either error the
/// certificate is valid now.
fn lacks_only_an_issuer(error: &CertificateError) -> bool {
    *error == CertificateError::UnknownIssuer || is_of_an_authority(error)
}

/// Returns true if the server uses the certificate of an authority as its own. rustls has no variant for this error.
pub(super) fn is_of_an_authority(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity")
}

impl ServerCertVerifier for Given {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.usual.verify_server_cert(server, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(error))
                if lacks_only_an_issuer(&error) && self.certificates.iter().any(|given| given == server) =>
            {
                verify_server_name(&ParsedCertificate::try_from(server)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, server, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, server, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
