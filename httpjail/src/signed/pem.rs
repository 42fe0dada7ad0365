//! Ed25519 keys as the files that OpenSSL reads and writes too: PKCS #8 and SubjectPublicKeyInfo (RFC 8410), in PEM.
//!
//! Both are a fixed beginning and 32 bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use zeroize::Zeroizing;

/// The length of a key, private or public.
pub(super) const LENGTH: usize = 32;

/// What stands before the 32 bytes of a private key: version 1, the algorithm 1.3.101.112, and two lengths.
const PRIVATE: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// What stands before those of a public one.
const PUBLIC: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

pub(super) fn private(seed: &[u8; LENGTH]) -> Zeroizing<String> {
    let der = Zeroizing::new([&PRIVATE[..], seed].concat());
    Zeroizing::new(text("PRIVATE KEY", &der))
}

pub(super) fn public(key: &[u8; LENGTH]) -> String {
    text("PUBLIC KEY", &[&PUBLIC[..], key].concat())
}

pub(super) fn read_private(pem: &[u8]) -> Result<Zeroizing<[u8; LENGTH]>, String> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| expected("PRIVATE KEY"))?;
    after(&PRIVATE, der.secret_pkcs8_der()).map(Zeroizing::new)
}

pub(super) fn read_public(pem: &[u8]) -> Result<[u8; LENGTH], String> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| expected("PUBLIC KEY"))?;
    after(&PUBLIC, &der)
}

fn after(start: &[u8], der: &[u8]) -> Result<[u8; LENGTH], String> {
    let key = der.strip_prefix(start).and_then(|key| key.try_into().ok());
    key.ok_or_else(|| "it is no Ed25519 key (RFC 8410)".to_owned())
}

fn expected(kind: &str) -> String {
    format!("expected an Ed25519 key, `-----BEGIN {kind}-----` and so on")
}

/// Each is shorter than the 64 characters of a line.
fn text(kind: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n",
        STANDARD.encode(der)
    )
}
