//! The certificate authority: the key that the jail's programs trust, and the leaves that it signs.
//!
//! The authority's name has random digits, and nothing of the user or the host, so two installations are never confused.
//! All leaves of a process share one P-256 key, because making a key costs as much as signing. They have random 128-bit serials,
//! because NSS refuses two certificates of one issuer with the same serial. They are valid for a week at most, so a stolen leaf
//! key soon has no value.

use super::provider;
use crate::net::Host;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};
use zeroize::{Zeroize, Zeroizing};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// The lifetime of the authority: five years. `httpjail ca rotate` makes a new one.
const AUTHORITY_LIFE: u64 = 5 * 365 * DAY;
/// The lifetime of a leaf, in seconds. A new leaf is issued when half of it is over.
pub(super) const LEAF_LIFE: u64 = 7 * DAY;
/// Leaves are valid from this many seconds in the past, for jails (containers, VMs) whose clock is behind.
const BACKDATE: u64 = HOUR;
/// The longest CommonName that X.520 allows (`ub-common-name`, RFC 5280 appendix A.1).
const LONGEST_COMMON_NAME: usize = 64;

/// Why an authority cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    /// There is no certificate in the text, or it cannot be parsed.
    #[error("the certificate of the authority cannot be read: {0}")]
    Certificate(String),
    /// There is no PKCS#8 private key in the text, or it cannot be parsed. The error shows nothing of the key.
    #[error("the private key of the authority cannot be read")]
    Key,
    /// The key belongs to another certificate.
    #[error("the private key does not belong to the authority's certificate")]
    KeyMismatch,
    /// The certificate may not sign others.
    #[error("the certificate is not that of a certificate authority")]
    NotAuthority,
    /// The certificate has expired.
    #[error("the authority's certificate expired on {0}")]
    Expired(String),
    /// The certificate is not valid yet, most often because of a wrong clock.
    #[error("the authority's certificate is not valid before {0}")]
    NotYetValid(String),
    /// The name cannot be in a certificate.
    #[error("no certificate can be made for {0}")]
    Name(String),
    /// Making a key or a signature failed.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The signing key was refused, or the system gave no random bytes.
    #[error("cannot make a key: {0}")]
    Crypto(#[from] rustls::Error),
}

/// A certificate authority with its key, ready to sign leaves.
pub(crate) struct CertificateAuthority {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
    /// The first and last second of its validity, since 1970. No leaf outlives its authority.
    valid: (u64, u64),
    leaf_public: KeyPair,
    leaf_key: Arc<dyn rustls::sign::SigningKey>,
}

impl CertificateAuthority {
    /// Makes a new authority with a random name, valid for five years.
    pub(crate) fn generate() -> Result<Self, AuthorityError> {
        let now = unix_now();
        Self::generate_valid(now - DAY, now + AUTHORITY_LIFE)
    }

    pub(super) fn generate_valid(not_before: u64, not_after: u64) -> Result<Self, AuthorityError> {
        let suffix: String = random::<8>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, "httpjail");
        name.push(DnType::CommonName, format!("httpjail CA {suffix}"));

        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        params.serial_number = Some(random_serial()?);
        set_validity(&mut params, not_before, not_after);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;

        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let pem = certificate.pem();
        Self::new(
            certificate.into(),
            pem,
            Issuer::new(params, key),
            (not_before, not_after),
        )
    }

    /// Reads an authority from PEM text: one certificate and its PKCS#8 key. Each text may have other sections, too.
    ///
    /// Checks that the key belongs to the certificate, and that the certificate may sign others and is valid now. Neither the errors
    /// nor their `Debug` show anything of the key.
    pub(crate) fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|err| AuthorityError::Certificate(err.to_string()))?;
        let key = read_key(key_pem)?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|err| AuthorityError::Certificate(err.to_string()))?;
        if key.subject_public_key_info() != parsed.tbs_certificate.subject_pki.raw {
            return Err(AuthorityError::KeyMismatch);
        }
        let usage = parsed
            .key_usage()
            .map_err(|err| AuthorityError::Certificate(err.to_string()))?;
        if !parsed.is_ca() || usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
            return Err(AuthorityError::NotAuthority);
        }
        let (not_before, not_after) = (parsed.validity().not_before, parsed.validity().not_after);
        let now = unix_now() as i64;
        if now > not_after.timestamp() {
            return Err(AuthorityError::Expired(not_after.to_string()));
        }
        if now < not_before.timestamp() {
            return Err(AuthorityError::NotYetValid(not_before.to_string()));
        }
        let valid = (not_before.timestamp().max(0) as u64, not_after.timestamp() as u64);
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        let pem = certificate_section(certificate_pem)
            .ok_or_else(|| AuthorityError::Certificate("no section of that name".into()))?;
        Self::new(certificate, pem, issuer, valid)
    }

    fn new(
        certificate: CertificateDer<'static>,
        certificate_pem: String,
        issuer: Issuer<'static, KeyPair>,
        valid: (u64, u64),
    ) -> Result<Self, AuthorityError> {
        let leaf_public = KeyPair::generate()?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_public.serialized_der()));
        let leaf_key = rustls::crypto::ring::sign::any_ecdsa_type(&der)?;
        Ok(CertificateAuthority {
            certificate,
            certificate_pem,
            issuer,
            valid,
            leaf_public,
            leaf_key,
        })
    }

    /// Returns the certificate in PEM form, for the jail to trust.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Returns the certificate in DER form.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Returns the private key in PEM form (PKCS#8), wiped from memory when it is dropped. The authority itself also keeps the key in
    /// memory, so the process must not be dumpable.
    pub(crate) fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// Signs a certificate for `host`, valid from an hour ago until a week from now, but not longer than the authority. Every call
    /// makes a new one; [`super::Leaves`] caches them.
    pub(crate) fn issue(&self, host: &Host) -> Result<CertifiedKey, AuthorityError> {
        let now = unix_now();
        let not_after = (now + LEAF_LIFE - BACKDATE).min(self.valid.1);
        if now >= not_after {
            return Err(AuthorityError::Expired(spell(self.valid.1)));
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let (name, common_name) = match host {
            Host::Name(name) => {
                let san = name
                    .as_str()
                    .try_into()
                    .map_err(|_| AuthorityError::Name(name.escape_debug().to_string()))?;
                (SanType::DnsName(san), name.clone())
            }
            Host::V4(address) => (SanType::IpAddress(IpAddr::V4(*address)), address.to_string()),
            Host::V6(address) => (SanType::IpAddress(IpAddr::V6(*address)), address.to_string()),
        };
        params.subject_alt_names = vec![name];
        // Clients match the alternative name. The subject is for people; without it rcgen marks the alternative name as critical.
        if common_name.len() <= LONGEST_COMMON_NAME {
            params.distinguished_name.push(DnType::CommonName, common_name);
        }
        params.serial_number = Some(random_serial()?);
        set_validity(&mut params, (now - BACKDATE).max(self.valid.0), not_after);
        // Set explicitly, because rcgen then writes the subject key identifier too.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&self.leaf_public, &self.issuer)?;
        Ok(CertifiedKey::new(vec![certificate.into()], Arc::clone(&self.leaf_key)))
    }

    /// Returns the last second, since 1970, at which the authority is valid.
    pub(crate) fn not_after(&self) -> u64 {
        self.valid.1
    }
}

/// Shows the validity, never the key.
impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("valid", &self.valid)
            .finish_non_exhaustive()
    }
}

/// Returns the seconds since 1970 by the wall clock, which certificates use. At least one day, so that backdating works on a machine
/// without a clock.
pub(super) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
        .max(DAY)
}

fn read_key(pem: &str) -> Result<KeyPair, AuthorityError> {
    let mut der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| AuthorityError::Key)?;
    let key = KeyPair::try_from(&der).map_err(|_| AuthorityError::Key);
    der.zeroize();
    key
}

/// Returns the first certificate section of `pem`, without the text around it (comments, perhaps the key).
fn certificate_section(pem: &str) -> Option<String> {
    super::trust::certificate_sections(pem.as_bytes())
        .ok()?
        .first()
        .map(|section| {
            let mut text = String::from_utf8_lossy(section).into_owned();
            text.push('\n');
            text
        })
}

/// Returns random bytes from the system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], AuthorityError> {
    let mut bytes = [0; N];
    provider().secure_random.fill(&mut bytes).map_err(rustls::Error::from)?;
    Ok(bytes)
}

/// Returns a random serial of 16 bytes as a positive DER integer. The top bit is clear, because it is the sign and rcgen would pad to
/// 17 bytes. The next bit is set, so that no leading zero shortens it. RFC 5280 section 4.1.2.2 allows 20 bytes.
fn random_serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = random::<16>()?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Sets the first and last second of the validity, since 1970.
fn set_validity(params: &mut CertificateParams, not_before: u64, not_after: u64) {
    params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(not_before);
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(not_after);
}

/// Returns a point in time as text.
fn spell(unix: u64) -> String {
    ASN1Time::from_timestamp(unix as i64).map_or_else(|_| format!("second {unix}"), |time| time.to_string())
}

#[cfg(test)]
mod tests;
