//! The secret of one run, which clients send as the proxy password.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// The user name in the proxy's URL; only the password counts.
pub(crate) const USER: &str = "httpjail";

/// The secret of one run. It is kept as a keyed hash, whose comparison takes the same time for every guess.
pub(crate) struct Token {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl Token {
    /// Returns a new token, and its text, which is not kept.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(crate) fn new() -> Result<(Token, String), ring::error::Unspecified> {
        let random = SystemRandom::new();
        let mut secret = [0; 24];
        random.fill(&mut secret)?;
        let text = URL_SAFE_NO_PAD.encode(secret);
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random)?;
        let tag = hmac::sign(&key, text.as_bytes());
        Ok((Token { key, tag }, text))
    }

    /// Returns what stands before the address in a proxy's URL.
    pub(crate) fn credentials(token: &str) -> String {
        format!("{USER}:{token}")
    }

    pub(crate) fn is(&self, guess: &[u8]) -> bool {
        hmac::verify(&self.key, guess, self.tag.as_ref()).is_ok()
    }
}
