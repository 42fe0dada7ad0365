//! Notices that a server gives no answer.
//!
//! A timer that is made and dropped for each request costs more than the rest of the waiting. So a connection has one,
//! which runs on from request to request, and is set anew only when it goes off too early.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// The clock of one connection.
#[derive(Default)]
pub(crate) struct AnswerClock {
    /// Never set to later than a wait that begins now would be.
    timer: Option<Pin<Box<Sleep>>>,
}

/// One wait for an answer.
pub(crate) struct Wait {
    pub(crate) clock: AnswerClock,
    limit: Duration,
    until: Option<Instant>,
    /// How much had been sent when the wait began.
    sent: u64,
}

impl AnswerClock {
    /// Begins a wait, which ends when nothing more than `sent` is sent within `limit`.
    pub(crate) fn wait(self, limit: Duration, sent: u64) -> Wait {
        Wait {
            clock: self,
            limit,
            until: None,
            sent,
        }
    }
}

impl Wait {
    /// Ready when the wait is over; `sent` is how much has been sent by now.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, sent: u64) -> Poll<()> {
        let limit = self.limit;
        loop {
            let until = *self.until.get_or_insert_with(|| Instant::now() + limit);
            let timer = self.clock.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= until {
                if std::mem::replace(&mut self.sent, sent) == sent {
                    return Poll::Ready(());
                }
                self.until = None;
                continue;
            }
            timer.as_mut().reset(until);
        }
    }
}
