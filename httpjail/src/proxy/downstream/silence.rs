//! How long a client may say nothing: on a new connection, within its TLS handshake, within the head of a request.
//!
//! Silence is counted and not work: on a busy machine a handshake takes as long as it takes, and each byte shows that somebody is
//! at it. Behind that stands [`Limits::arrival`], for whoever sends a byte now and then only to stay; and when
//! places run out the oldest connection that has asked for nothing goes before any clock has run out ([`crate::proxy::overload::clients`]).

use crate::proxy::limits::Limits;
use crate::proxy::overload::pace::Paced;
use crate::proxy::service::client::Client;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// What a client is silent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not one byte has come.
    Opening,
    /// A TLS handshake.
    Handshake,
    /// A request's head, or the wait for it.
    Head,
}

/// Why a connection ends before there is a whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Late {
    pub(crate) phase: Phase,
    limit: Duration,
    /// Whether it is all of the time that is over, and not a silence.
    in_all: bool,
}

impl Late {
    /// A silence of `limit`.
    pub(crate) fn silent(phase: Phase, limit: Duration) -> Late {
        Late {
            phase,
            limit,
            in_all: false,
        }
    }

    /// No end within `limit`.
    pub(crate) fn in_all(limit: Duration) -> Late {
        Late {
            phase: Phase::Head,
            limit,
            in_all: true,
        }
    }

    /// What the log is told, with the key that sets the limit.
    pub(crate) fn reason(self) -> String {
        let seconds = self.limit.as_secs_f64();
        match self.phase {
            _ if self.in_all => format!("no whole request within {seconds} s (limits: arrival-timeout)"),
            Phase::Opening => format!("nothing was said for {seconds} s (limits: silence-timeout)"),
            Phase::Handshake => {
                format!("silent for {seconds} s in the TLS handshake (limits: handshake-timeout)")
            }
            Phase::Head => format!("silent for {seconds} s before a whole request (limits: header-timeout)"),
        }
    }
}

/// Awaits `work`, a step of reading what `client` says, for as long as it is not silent for too long.
pub(crate) async fn unless_silent<T>(client: &Client, phase: Phase, work: impl Future<Output = T>) -> Result<T, Late> {
    let limits = &client.proxy.config.limits;
    let limit = match phase {
        Phase::Opening => limits.silence,
        Phase::Handshake => limits.handshake,
        Phase::Head => limits.header,
    };
    tokio::pin!(work);
    let (mut moved, mut left) = (client.guest.moved(), Paced::new(limit));
    loop {
        // What has come is looked at before a clock: it is then we who are late.
        let over = tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            over = left.step() => over,
        };
        if client.began().elapsed() >= limits.arrival && phase != Phase::Opening {
            return Err(Late::in_all(limits.arrival));
        }
        let now = client.guest.moved();
        if now != moved {
            (moved, left) = (now, Paced::new(limit));
        } else if over {
            return Err(Late::silent(phase, limit));
        }
    }
}

/// The clock of a connection that is waited on for the head of a request, by who polls it.
pub(crate) struct HeadClock {
    header: Duration,
    arrival: Duration,
    /// When the head began that is not whole yet; that of the first request with its connection.
    began: Option<Instant>,
    clock: Pin<Box<Sleep>>,
    runs: bool,
}

impl HeadClock {
    pub(crate) fn new(limits: &Limits, began: std::time::Instant) -> HeadClock {
        HeadClock {
            header: limits.header,
            arrival: limits.arrival,
            began: Some(began.into()),
            clock: Box::pin(tokio::time::sleep(limits.header)),
            runs: false,
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
        self.runs = false;
    }

    /// Runs, from now on if it did not, and tells when it has run out.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Late> {
        let latest = self.began.map(|began| began + self.arrival);
        if !std::mem::replace(&mut self.runs, true) {
            let quiet = Instant::now() + self.header;
            self.clock
                .as_mut()
                .reset(latest.map_or(quiet, |latest| latest.min(quiet)));
        }
        ready!(self.clock.as_mut().poll(cx));
        Poll::Ready(match latest {
            Some(latest) if latest <= Instant::now() => Late::in_all(self.arrival),
            _ => Late::silent(Phase::Head, self.header),
        })
    }
}
