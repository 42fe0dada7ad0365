//! A server whose certificate the user named himself, byte for byte (`--upstream-ca`).
//!
//! `openssl req -x509` makes certificates that say of themselves that they are an authority's, and internal servers show
//! them as their own. The usual verifier refuses that, also where the user has named that very certificate. Here such a
//! one is taken, as other clients take it, and one whose issuer is unknown, too: the user vouches for it. Its time and its
//! names are held to all the same.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;

/// The usual verifier, and the certificates that are taken as they are.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) usual: Arc<WebPkiServerVerifier>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

/// Whether a server was refused only for what its certificate is not said to be by an authority.
///
/// webpki looks at a server's own certificate first, at its time before what it may be used for, and only then for who
/// vouches for it: with either error its time is right.
fn lacks_only_a_voucher(error: &CertificateError) -> bool {
    *error == CertificateError::UnknownIssuer || is_of_an_authority(error)
}

/// Whether the server shows the certificate of an authority as its own. rustls has no name for it.
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
                if lacks_only_a_voucher(&error) && self.certificates.iter().any(|given| given == server) =>
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
