//! The signature file: a few lines of text beside the policy.
//!
//! ```text
//! httpjail-policy-signature: 1
//! key: 5f0c2c8a9d1b4e6f7a8090b1c2d3e4f5
//! serial: 7
//! signed: 2026-11-30T17:00:00Z
//! expires: 2026-12-30T17:00:00Z
//! bytes: 1234
//! sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! signature: ...
//! ```
//!
//! What is signed is all of it but the last line. Its first line tells it from whatever else a key may sign. Each signature has one
//! spelling: a text that is read and written again is the same text, or it is refused.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use ring::digest::SHA256;

use super::key::{PublicKey, SigningKey, hex};

/// No signature file is longer.
pub(crate) const LONGEST: usize = 4096;

const TITLE: &str = "httpjail-policy-signature";
const VERSION: &str = "1";
const FIELDS: [&str; 8] = [
    TITLE,
    "key",
    "serial",
    "signed",
    "expires",
    "bytes",
    "sha256",
    "signature",
];

/// How far the clocks of who signs and who verifies may differ.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// What a signature says of its policy, besides which one it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Grows with each policy.
    pub serial: u64,
    /// When it was signed.
    pub signed: Timestamp,
    /// From when on it counts no more.
    pub expires: Timestamp,
}

/// A signature file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    /// Which key signed it.
    pub key: String,
    /// What it says.
    pub terms: Terms,
    /// The length of the policy.
    pub bytes: u64,
    /// Its digest.
    pub sha256: String,
    signature: Vec<u8>,
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    #[error("it is no signature of a policy: {0}")]
    Text(String),
    #[error("it is signed by the key {0}, which is not among those that are trusted")]
    Key(String),
    #[error("the key {0} has not signed it: it was changed, or another key has its name")]
    Forged(String),
    #[error("it is about another policy: it has {0} bytes with the SHA-256 {1}")]
    Policy(u64, String),
    #[error("it expired at {0}")]
    Expired(Timestamp),
    #[error("it was signed at {0}, and here it is {1}: this machine's clock is wrong, or that of who signed it")]
    Future(Timestamp, Timestamp),
}

/// Returns the digest of a policy.
pub(crate) fn digest(policy: &[u8]) -> String {
    hex(ring::digest::digest(&SHA256, policy).as_ref())
}

impl Signature {
    /// Signs a policy.
    pub(crate) fn make(key: &SigningKey, policy: &[u8], terms: Terms) -> Signature {
        let mut made = Signature {
            key: key.public().id(),
            terms,
            bytes: policy.len() as u64,
            sha256: digest(policy),
            signature: Vec::new(),
        };
        made.signature = key.sign(made.message().as_bytes());
        made
    }

    /// Reads a signature file.
    ///
    /// # Errors
    /// [`SignatureError::Text`] for all that [`Signature::make`] does not write.
    pub(crate) fn parse(text: &[u8]) -> Result<Signature, SignatureError> {
        let wrong = |why: String| SignatureError::Text(why);
        if text.len() > LONGEST {
            return Err(wrong(format!("it is longer than {LONGEST} bytes")));
        }
        let text = std::str::from_utf8(text).map_err(|_| wrong("it is no text".into()))?;
        let mut lines = text.split_terminator('\n');
        let mut value = |name: &str| {
            let line = lines.next().unwrap_or_default();
            let found = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(": "));
            found.ok_or_else(|| wrong(format!("expected the line `{name}: ...`")))
        };
        let mut values = [""; FIELDS.len()];
        for (value_of, name) in values.iter_mut().zip(FIELDS) {
            *value_of = value(name)?;
            // Of another version nothing more is known.
            if name == TITLE && *value_of != VERSION {
                return Err(wrong(format!(
                    "it has the version `{}`, and this httpjail knows version {VERSION}",
                    value_of.escape_debug()
                )));
            }
        }
        let [_, key, serial, signed, expires, bytes, sha256, signature] = values;
        let invalid = |name: &str| wrong(format!("invalid `{name}`"));
        let read = Signature {
            key: key.to_owned(),
            terms: Terms {
                serial: serial.parse().map_err(|_| invalid("serial"))?,
                signed: signed.parse().map_err(|_| invalid("signed"))?,
                expires: expires.parse().map_err(|_| invalid("expires"))?,
            },
            bytes: bytes.parse().map_err(|_| invalid("bytes"))?,
            sha256: sha256.to_owned(),
            signature: STANDARD.decode(signature).map_err(|_| invalid("signature"))?,
        };
        let is_hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        if !is_hex(&read.key, 32) {
            return Err(invalid("key"));
        }
        if !is_hex(&read.sha256, 64) {
            return Err(invalid("sha256"));
        }
        match read.to_string() == text {
            true => Ok(read),
            false => Err(wrong("it is not spelled as httpjail spells it".into())),
        }
    }

    /// Checks who signed it, and when. `now` is the time.
    ///
    /// # Errors
    /// When none of `keys` has, or it does not count at that time.
    pub(crate) fn check(&self, keys: &[PublicKey], now: Timestamp) -> Result<(), SignatureError> {
        let key = keys.iter().find(|key| key.id() == self.key);
        let key = key.ok_or_else(|| SignatureError::Key(self.key.clone()))?;
        if !key.verifies(self.message().as_bytes(), &self.signature) {
            return Err(SignatureError::Forged(self.key.clone()));
        }
        if self.terms.expires <= now {
            return Err(SignatureError::Expired(self.terms.expires));
        }
        // A clock that lags would let what has expired count.
        if self.terms.signed.duration_since(now) > SKEW {
            return Err(SignatureError::Future(self.terms.signed, now));
        }
        Ok(())
    }

    /// Checks that it is about this policy.
    ///
    /// # Errors
    /// When it is about another.
    pub(crate) fn covers(&self, policy: &[u8]) -> Result<(), SignatureError> {
        match self.bytes == policy.len() as u64 && self.sha256 == digest(policy) {
            true => Ok(()),
            false => Err(SignatureError::Policy(self.bytes, self.sha256.clone())),
        }
    }

    fn message(&self) -> String {
        let Terms {
            serial,
            signed,
            expires,
        } = self.terms;
        format!(
            "{TITLE}: {VERSION}\nkey: {}\nserial: {serial}\nsigned: {signed}\nexpires: {expires}\nbytes: {}\nsha256: {}\n",
            self.key, self.bytes, self.sha256
        )
    }
}

/// The file's text.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}signature: {}", self.message(), STANDARD.encode(&self.signature))
    }
}
