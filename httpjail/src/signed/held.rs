//! Which signed policy is in force, and which may follow it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::signature::Signature;

/// A policy that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// Its number.
    pub serial: u64,
    /// Its digest.
    pub sha256: String,
    /// The key that signed it.
    pub key: String,
    /// When that was.
    #[serde(with = "time")]
    pub signed: Timestamp,
    /// From when on it counts no more.
    #[serde(with = "time")]
    pub expires: Timestamp,
}

/// What is known of the policies that were taken. It outlives the process that took them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// The newest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<Taken>,
    /// The one before: where a machine stops at the wrong moment, that is still in the file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<Taken>,
}

impl Held {
    /// Tells whether a policy may follow: it has a higher serial, or it is the same.
    ///
    /// # Errors
    /// When it may not.
    pub(crate) fn admit(&self, signature: &Signature) -> Result<(), String> {
        let Some(held) = &self.policy else { return Ok(()) };
        let serial = signature.terms.serial;
        if serial < held.serial {
            return Err(format!(
                "its serial is {serial}, older than {}, which was taken",
                held.serial
            ));
        }
        if serial == held.serial && signature.sha256 != held.sha256 {
            return Err(format!(
                "its serial is {serial}, as that of another policy which was taken: a new policy needs a new serial"
            ));
        }
        Ok(())
    }

    /// Puts a policy in the place of the newest.
    pub(crate) fn take(&mut self, signature: &Signature) {
        let taken = Taken::from(signature);
        let replaced = self.policy.replace(taken.clone());
        if replaced.as_ref().is_some_and(|old| old.sha256 != taken.sha256) {
            self.before = replaced;
        }
    }

    /// Returns when the policy with this digest expires. One that is not known is as old as the newest that is.
    pub(crate) fn expires(&self, sha256: &str) -> Option<Timestamp> {
        let known = [&self.policy, &self.before].into_iter().flatten();
        let found = known.clone().find(|taken| taken.sha256 == sha256);
        found.or(self.policy.as_ref()).map(|taken| taken.expires)
    }

    /// Returns whether the newest has this digest.
    pub(crate) fn is(&self, sha256: &str) -> bool {
        self.policy.as_ref().is_some_and(|taken| taken.sha256 == sha256)
    }
}

impl From<&Signature> for Taken {
    fn from(signature: &Signature) -> Taken {
        Taken {
            serial: signature.terms.serial,
            sha256: signature.sha256.clone(),
            key: signature.key.clone(),
            signed: signature.terms.signed,
            expires: signature.terms.expires,
        }
    }
}

/// A time as RFC 3339.
mod time {
    use jiff::Timestamp;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
