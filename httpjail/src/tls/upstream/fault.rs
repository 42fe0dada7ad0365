//! Says why TLS with an upstream failed, in words for the 502 that the jail gets.
//!
//! Without httpjail the program would see the certificate error itself; now only the proxy can report it. Names from an untrusted
//! certificate are cut and escaped.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
use std::io;

/// How many of a certificate's names are listed.
const NAMES_SHOWN: usize = 4;

/// A fault of an upstream's TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpstreamFault {
    /// Its certificate has expired.
    #[error("the server's certificate has expired (is this machine's clock right?)")]
    Expired,
    /// Its certificate is not valid yet.
    #[error("the server's certificate is not valid yet (is this machine's clock right?)")]
    NotYetValid,
    /// Its certificate is not signed by an authority that this system trusts.
    #[error("the server's certificate is not signed by an authority that this system trusts (--upstream-ca adds one)")]
    UnknownIssuer,
    /// Its certificate is for other names.
    #[error("the server's certificate is not valid for {expected}, only for {presented}")]
    WrongName {
        /// The requested name.
        expected: String,
        /// The names in the certificate.
        presented: String,
    },
    /// Its certificate is an authority's, and the user has not named that certificate.
    #[error(
        "the server shows the certificate of an authority as its own (a self-signed one, as `openssl req -x509` makes them): \
         name that certificate with --upstream-ca, or make it with `-addext basicConstraints=CA:FALSE`"
    )]
    OfAnAuthority,
    /// Its certificate may not be used by a server.
    #[error("the server's certificate is not meant for servers")]
    WrongPurpose,
    /// It requires a client certificate. The jail's own one cannot be passed through.
    #[error(
        "the server requires a client certificate, which cannot pass through interception (`tls: passthrough:` in a policy \
         file leaves a host's TLS alone)"
    )]
    ClientCertificateRequired,
    /// No TLS version, cipher or application protocol in common.
    #[error("the server has no TLS version, cipher or application protocol in common with httpjail ({0})")]
    NoCommonProtocol(String),
    /// Anything else.
    #[error("TLS with the server failed: {0}")]
    Other(String),
}

/// Classifies the error of a handshake.
pub(crate) fn explain(error: &Error) -> UpstreamFault {
    match error {
        Error::InvalidCertificate(certificate) => explain_certificate(certificate),
        Error::AlertReceived(AlertDescription::CertificateRequired) => UpstreamFault::ClientCertificateRequired,
        Error::AlertReceived(
            alert @ (AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
            | AlertDescription::NoApplicationProtocol),
        ) => UpstreamFault::NoCommonProtocol(format!("alert {alert:?}")),
        // In TLS 1.2 OpenSSL sends this both for a missing client certificate and for ciphers that it does not accept.
        Error::AlertReceived(AlertDescription::HandshakeFailure) => UpstreamFault::Other(
            "it refused the handshake; it may require a client certificate or other ciphers".into(),
        ),
        Error::PeerIncompatible(
            what @ (PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NoSignatureSchemesInCommon),
        ) => UpstreamFault::NoCommonProtocol(format!("{what:?}")),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            UpstreamFault::Other("it does not speak TLS on that port".into())
        }
        Error::NoApplicationProtocol => UpstreamFault::NoCommonProtocol("ALPN".into()),
        other => UpstreamFault::Other(other.to_string()),
    }
}

/// Classifies an I/O error if TLS caused it. A TLS 1.3 server refuses a missing client certificate only after the client's handshake, so
/// that error comes with the first read.
pub(crate) fn explain_io(error: &io::Error) -> Option<UpstreamFault> {
    error.get_ref()?.downcast_ref::<Error>().map(explain)
}

fn explain_certificate(error: &CertificateError) -> UpstreamFault {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => UpstreamFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => UpstreamFault::NotYetValid,
        CertificateError::UnknownIssuer => UpstreamFault::UnknownIssuer,
        CertificateError::NotValidForName => UpstreamFault::WrongName {
            expected: "this host".into(),
            presented: "others".into(),
        },
        CertificateError::NotValidForNameContext { expected, presented } => UpstreamFault::WrongName {
            expected: expected.to_str().into_owned(),
            presented: list(presented),
        },
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            UpstreamFault::WrongPurpose
        }
        other if super::given::is_of_an_authority(other) => UpstreamFault::OfAnAuthority,
        other => UpstreamFault::Other(shorten(&Error::InvalidCertificate(other.clone()).to_string())),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "no name at all".into();
    }
    let mut shown = names
        .iter()
        .take(NAMES_SHOWN)
        .map(|name| shorten(bare(name)))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > NAMES_SHOWN {
        shown.push_str(&format!(" and {} more", names.len() - NAMES_SHOWN));
    }
    shown
}

/// Returns a name without its kind: rustls writes `DnsName("a.test")`.
fn bare(name: &str) -> &str {
    let inside = name.strip_suffix(')').and_then(|name| name.split_once('('));
    inside.map_or(name, |(_kind, name)| name.trim_matches('"'))
}

/// Returns untrusted text without control characters, cut to 200 characters.
fn shorten(text: &str) -> String {
    text.chars()
        .take(200)
        .flat_map(char::escape_debug)
        .filter(|&c| c != '\\')
        .collect()
}
