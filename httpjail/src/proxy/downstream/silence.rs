//! Limits how long a client may send nothing: on a new connection, in its TLS handshake, in the head of a request.
//!
//! The clock counts silence, not work: on a busy machine a handshake takes long, and each byte shows that the client is
//! still there. Two other bounds stand behind this one. [`Limits::arrival`] ends a client that sends a byte now and
//! then only to stay, and when connections run out the oldest one without a request is closed early
//! ([`crate::proxy::overload::clients`]).
//!
//! [`Limits::arrival`]: crate::proxy::limits::Limits::arrival

use crate::proxy::overload::pace::Paced;
use crate::proxy::service::client::Client;
use crate::proxy::timeout::{Late, Phase};

/// Awaits `work`, a step of reading from `client`, until the client is silent for too long.
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
        // What has come is looked at before the clock: then the proxy is late, not the client.
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
