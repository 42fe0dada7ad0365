//! A timer for hyper that sets no clock.
//!
//! hyper makes a clock for each head that it waits for, and drops it when the head is there. The gate has one for the
//! whole connection ([`HeadClock`]), which is always the first to run out. So hyper's need not run.
//!
//! [`HeadClock`]: crate::proxy::downstream::head_clock::HeadClock

use hyper::rt::{Sleep, Timer};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A timer whose clocks do not run.
pub(crate) struct NoTimer {
    now: Instant,
}

impl NoTimer {
    pub(crate) fn new() -> NoTimer {
        NoTimer { now: Instant::now() }
    }
}

impl Timer for NoTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        // It has no size: nothing is allocated.
        Box::pin(Stopped)
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Stopped)
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn reset(&self, _: &mut Pin<Box<dyn Sleep>>, _: Instant) {}
}

struct Stopped;

impl Future for Stopped {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Sleep for Stopped {}
