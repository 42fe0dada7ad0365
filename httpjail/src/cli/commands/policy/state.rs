//! FILE.state: what is known of the policy in FILE, for the next process that fetches it, and for whoever watches this one.

use std::io;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::signed::Held;

const VERSION: u64 = 1;

/// The file, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    version: u64,
    /// What is in the policy file.
    #[serde(default)]
    pub in_force: InForce,
    /// The policies that were taken.
    #[serde(default)]
    pub held: Held,
    /// Where they came from.
    #[serde(default)]
    pub url: String,
    /// The tag by which the server knows the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// When the server was last found to have what is held, or something newer that was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<String>,
    /// When it was last asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<String>,
    /// Why that failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How often it has failed since.
    #[serde(default)]
    pub failures: u64,
    /// How long ago the last success was, when this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<i64>,
}

/// What is in the policy file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum InForce {
    /// Nothing that came from the server.
    #[default]
    None,
    /// The policy.
    Policy,
    /// It has expired, and everything is denied.
    Denied,
}

impl Default for State {
    fn default() -> State {
        State {
            version: VERSION,
            in_force: InForce::None,
            held: Held::default(),
            url: String::new(),
            tag: None,
            last_success: None,
            last_attempt: None,
            last_error: None,
            failures: 0,
            age_seconds: None,
        }
    }
}

impl State {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn parse(text: &[u8]) -> Result<State, String> {
        let state: State = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        match state.version {
            VERSION => Ok(state),
            other => Err(format!(
                "it has the version {other}, and this httpjail knows version {VERSION}"
            )),
        }
    }

    /// Returns the file.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub(super) fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Returns the time: the clock's, but not before the last success. A clock that was set back must not let what has expired
    /// count again.
    pub(super) fn now(&self, clock: Timestamp) -> Timestamp {
        let last = self.last_success.as_ref().and_then(|time| time.parse().ok());
        last.map_or(clock, |last: Timestamp| clock.max(last))
    }

    /// Notes how asking the server went.
    pub(super) fn note(&mut self, now: Timestamp, error: Option<&str>) {
        self.last_attempt = Some(Timestamp::from_second(now.as_second()).unwrap_or(now).to_string());
        self.last_error = error.map(str::to_owned);
        match error {
            None => {
                self.last_success.clone_from(&self.last_attempt);
                self.failures = 0;
            }
            Some(_) => self.failures += 1,
        }
        let last = self.last_success.as_ref().and_then(|time| time.parse().ok());
        self.age_seconds = last.map(|last: Timestamp| now.duration_since(last).as_secs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_clock_that_was_set_back_is_not_believed() {
        let mut state = State::default();
        let noon = at("2030-01-01T12:00:00Z");
        assert_eq!(state.now(noon), noon);
        state.note(noon, None);
        assert_eq!(state.now(at("2029-01-01T12:00:00Z")), noon);
        let later = at("2030-01-01T13:00:00Z");
        assert_eq!(state.now(later), later);
        // A time at which nothing was found to be good says nothing.
        state.note(later, Some("no answer"));
        assert_eq!(state.now(at("2029-01-01T12:00:00Z")), noon);
        assert_eq!((state.failures, state.age_seconds), (1, Some(3600)));
    }

    #[test]
    fn what_is_not_understood_is_no_state() {
        let mut state = State::default();
        state.note(at("2030-01-01T12:00:00Z"), Some("no answer"));
        assert_eq!(State::parse(&state.text().expect("JSON")), Ok(state.clone()));
        for (text, why) in [
            ("", "EOF"),
            ("{}", "missing field `version`"),
            (r#"{"version": 2}"#, "has the version 2"),
            (r#"{"version": 1, "serial": 3}"#, "unknown field"),
        ] {
            let error = State::parse(text.as_bytes()).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
    }
}
