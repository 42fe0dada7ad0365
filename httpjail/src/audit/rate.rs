//! Limits the rate of events with a token bucket, and counts those that it holds back.
//!
//! It has no clock: the caller passes the time, so that tests need not wait.

use std::time::Instant;

/// The decision of a [`Bucket`] about one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Let it through.
    Pass {
        /// How many events were held back since the last one that was let through.
        held_back: u64,
    },
    Hold,
}

/// A token bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    burst: f64,
    per_second: f64,
    tokens: f64,
    last: Option<Instant>,
    held_back: u64,
}

impl Bucket {
    /// Creates a full bucket: `burst` events pass at once, and `per_second` a second after that.
    pub(crate) fn new(burst: u32, per_second: u32) -> Self {
        let (burst, per_second) = (f64::from(burst), f64::from(per_second));
        Bucket {
            burst,
            per_second,
            tokens: burst,
            last: None,
            held_back: 0,
        }
    }

    /// Decides about one event that happens `now`.
    pub(crate) fn admit(&mut self, now: Instant) -> Admission {
        let elapsed = self
            .last
            .map_or(0.0, |last| now.saturating_duration_since(last).as_secs_f64());
        self.last = Some(now);
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.burst);
        if self.tokens < 1.0 {
            self.held_back += 1;
            return Admission::Hold;
        }
        self.tokens -= 1.0;
        Admission::Pass {
            held_back: self.take_held_back(),
        }
    }

    /// Returns how many events were held back since the last one that passed, and resets that count.
    pub(crate) fn take_held_back(&mut self) -> u64 {
        std::mem::take(&mut self.held_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_passes_then_a_trickle() {
        let start = Instant::now();
        let mut bucket = Bucket::new(3, 2);
        let passed = |bucket: &mut Bucket, at: u64, tries: u32| {
            let now = start + Duration::from_millis(at);
            (0..tries).filter(|_| bucket.admit(now) != Admission::Hold).count()
        };
        assert_eq!(passed(&mut bucket, 0, 10), 3);
        assert_eq!(passed(&mut bucket, 499, 10), 0);
        assert_eq!(passed(&mut bucket, 500, 10), 1);
        assert_eq!(
            passed(&mut bucket, 60_000, 10),
            3,
            "never more than a burst, however long it was idle"
        );
    }

    #[test]
    fn what_was_held_back_is_counted_once() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1, 1);
        assert_eq!(bucket.admit(start), Admission::Pass { held_back: 0 });
        assert_eq!(bucket.admit(start), Admission::Hold);
        assert_eq!(bucket.admit(start), Admission::Hold);
        let later = start + Duration::from_secs(1);
        assert_eq!(bucket.admit(later), Admission::Pass { held_back: 2 });
        assert_eq!(bucket.take_held_back(), 0);
    }
}
