//! Computes the file name under which OpenSSL searches for an authority in a certificate directory (`SSL_CERT_DIR`).
//!
//! OpenSSL opens `HASH.0`, HASH being the first four bytes, little-endian, of the SHA-1 of the subject in a canonical
//! encoding: strings as UTF-8, ASCII lower case, blanks trimmed and runs of them made one, without the outer SEQUENCE
//! header (`crypto/x509/x_name.c`, `x509_name_canon`; `x509_cmp.c`, `X509_NAME_hash_ex`).

use ring::digest;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Certificate};

const OID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// Returns the name, such as `5f3e7a10.0`, or `None` if the certificate cannot be parsed or its subject contains other values than
/// strings.
pub(crate) fn hashed_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut canonical = Vec::new();
    for set in parsed.subject().iter() {
        let mut attributes = set.iter().map(attribute).collect::<Option<Vec<_>>>()?;
        attributes.sort_unstable(); // DER orders the members of a SET by their encoding
        canonical.extend(wrap(SET, &attributes.concat()));
    }
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &canonical);
    let [a, b, c, d] = *hash.as_ref().first_chunk()?;
    Some(format!("{:08x}.0", u32::from_le_bytes([a, b, c, d])))
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> Option<Vec<u8>> {
    let words = attribute
        .as_str()
        .ok()?
        .split_ascii_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let mut content = wrap(OID, attribute.attr_type().as_bytes());
    content.extend(wrap(UTF8_STRING, words.to_ascii_lowercase().as_bytes()));
    Some(wrap(SEQUENCE, &content))
}

/// Encodes a DER value: tag, length, content.
fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|&&byte| byte == 0).count()..];
    let mut der = vec![tag];
    match content.len() {
        short @ 0..0x80 => der.push(short as u8),
        _ => {
            der.push(0x80 | significant.len() as u8);
            der.extend_from_slice(significant);
        }
    }
    der.extend_from_slice(content);
    der
}
