//! The clock for a request's head: how long a client may be silent, and how long the whole head may take.

use crate::proxy::limits::Limits;
use crate::proxy::timeout::{Late, Phase};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// The clock of a connection that is waited on for the head of a request, by who polls it.
pub(crate) struct HeadClock {
    header: Duration,
    arrival: Duration,
    /// When the head began that is not whole yet; that of the first request with its connection.
    began: Option<Instant>,
    /// Until when this wait is. Nothing while no head is awaited.
    until: Option<Instant>,
    /// Never set to later than that. It runs on from wait to wait, and is set anew only when it goes off too early.
    clock: Pin<Box<Sleep>>,
}

impl HeadClock {
    pub(crate) fn new(limits: &Limits, began: std::time::Instant) -> HeadClock {
        HeadClock {
            header: limits.header,
            arrival: limits.arrival,
            began: Some(began.into()),
            until: None,
            clock: Box::pin(tokio::time::sleep(limits.header)),
        }
    }

    /// Something came: `within` a head that is not whole yet, or something that `passed`.
    pub(crate) fn wind(&mut self, within: bool, passed: bool) {
        self.stop();
        match self.began {
            _ if !within && passed => self.began = None,
            None if within => self.began = Some(Instant::now()),
            _ => {}
        }
    }

    /// No head is awaited now.
    pub(crate) fn stop(&mut self) {
        self.until = None;
    }

    /// Runs, from now on if it did not, and tells when it has run out.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Late> {
        let latest = self.began.map(|began| began + self.arrival);
        let until = match self.until {
            Some(until) => until,
            None => {
                let quiet = Instant::now() + self.header;
                let until = latest.map_or(quiet, |latest| latest.min(quiet));
                if until < self.clock.deadline() {
                    self.clock.as_mut().reset(until);
                }
                *self.until.insert(until)
            }
        };
        loop {
            ready!(self.clock.as_mut().poll(cx));
            if self.clock.deadline() >= until {
                break;
            }
            self.clock.as_mut().reset(until);
        }
        Poll::Ready(match latest {
            Some(latest) if latest <= Instant::now() => Late::in_all(self.arrival),
            _ => Late::silent(Phase::Head, self.header),
        })
    }
}
