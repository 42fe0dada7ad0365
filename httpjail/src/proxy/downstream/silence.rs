//! How long a client may say nothing: on a new connection, within its TLS handshake, within the head of a request.
//!
//! Silence is counted and not work: on a busy machine a handshake takes as long as it takes, and each byte shows that somebody is
//! at it. Behind that stands [`Limits::arrival`], for whoever sends a byte now and then only to stay; and when
//! places run out the oldest connection that has asked for nothing goes before any clock has run out ([`crate::proxy::overload::clients`]).

use crate::proxy::overload::pace::Paced;
use crate::proxy::service::client::Client;
use crate::proxy::timeout::{Late, Phase};

/// Awaits `work`, a step of reading what `client` says, for as long as it is not silent for too long.
pub(crate) async fn unless_silent<T>(client: &Client, phase: Phase, work: impl Future<Output = T>) -> Result<T, Late> {
    let limits = &client.context.config.limits;
    let limit = match phase {
        Phase::FirstByte => limits.silence,
        Phase::Handshake => limits.handshake,
        Phase::Head => limits.header,
    };
    tokio::pin!(work);
    let (mut moved, mut left) = (client.registration.moved(), Paced::new(limit));
    loop {
        // What has come is looked at before a clock: it is then we who are late.
        let over = tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            over = left.step() => over,
        };
        if client.began().elapsed() >= limits.arrival && phase != Phase::FirstByte {
            return Err(Late::in_all(limits.arrival));
        }
        let now = client.registration.moved();
        if now != moved {
            (moved, left) = (now, Paced::new(limit));
        } else if over {
            return Err(Late::silent(phase, limit));
        }
    }
}
