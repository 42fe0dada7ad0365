//! How long a start looks at what else the host runs: whoever has an account could run processes without end.

use std::io;
use std::time::{Duration, Instant};

/// A start that takes longer is one that somebody holds up.
const LONGEST: Duration = Duration::from_secs(20);

/// Ends a look that takes too long.
#[derive(Debug)]
pub(super) struct Limit(Instant);

impl Limit {
    /// The time begins to run.
    pub(super) fn begin() -> Self {
        Limit(Instant::now() + LONGEST)
    }

    /// # Errors
    /// When the time is up.
    pub(super) fn check(&self) -> io::Result<()> {
        if Instant::now() < self.0 {
            return Ok(());
        }
        let text = format!(
            "there are so many processes, sockets and folders that {} s are not enough to look at them",
            LONGEST.as_secs()
        );
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_has_an_end() {
        assert!(Limit::begin().check().is_ok());
        let error = Limit(Instant::now()).check().unwrap_err();
        assert!(error.to_string().contains("20 s are not enough"), "{error}");
    }
}
