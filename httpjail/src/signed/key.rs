//! The keys that sign policies, and those that tell whether they did.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::pem::{self, LENGTH};

/// How many bytes of a key's digest name it.
const ID_BYTES: usize = 16;

/// A key that signs.
pub(crate) struct SigningKey {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; LENGTH]>,
}

/// A key that verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey([u8; LENGTH]);

impl SigningKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(crate) fn generate() -> Result<SigningKey, String> {
        let mut seed = Zeroizing::new([0; LENGTH]);
        let filled = SystemRandom::new().fill(&mut seed[..]);
        filled.map_err(|_| "the system has no randomness".to_owned())?;
        SigningKey::of(seed)
    }

    /// Reads the text of [`SigningKey::pem`], or a key of OpenSSL's.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn from_pem(text: &[u8]) -> Result<SigningKey, String> {
        SigningKey::of(pem::read_private(text)?)
    }

    fn of(seed: Zeroizing<[u8; LENGTH]>) -> Result<SigningKey, String> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed[..]);
        let pair = pair.map_err(|_| "it is no Ed25519 key".to_owned())?;
        Ok(SigningKey { pair, seed })
    }

    /// Returns the key as a file.
    pub(crate) fn pem(&self) -> Zeroizing<String> {
        pem::private(&self.seed)
    }

    /// Returns the key that verifies what this one signs.
    pub(crate) fn public(&self) -> PublicKey {
        let mut key = [0; LENGTH];
        // Each Ed25519 key has this length.
        key.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(key)
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl PublicKey {
    /// Reads the text of [`PublicKey::pem`], or a key of OpenSSL's.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn from_pem(text: &[u8]) -> Result<PublicKey, String> {
        pem::read_public(text).map(PublicKey)
    }

    /// Returns the key as a file.
    pub(crate) fn pem(&self) -> String {
        pem::public(&self.0)
    }

    /// Returns the name of the key: the beginning of its digest.
    pub(crate) fn id(&self) -> String {
        hex(&digest(&SHA256, &self.0).as_ref()[..ID_BYTES])
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(message, signature)
            .is_ok()
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
