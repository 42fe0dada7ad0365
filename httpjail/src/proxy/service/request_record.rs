//! The log record of one request, which is written when it is dropped.
//!
//! However a request ends, it drops its record, so no path through the proxy can forget to log it.

use crate::approve::Requester;
use crate::audit::{Decision, EventKind, Record};
use crate::proxy::http1::exchange::ExchangeState;
use crate::proxy::io::byte_counts::ByteCounts;
use crate::proxy::io::flush_counter::FlushCounter;
use crate::proxy::overload::h2_windows::UNSENT_MAX;
use crate::proxy::refusal::{Kind, Refusal};
use crate::proxy::service::client::Client;
use http::StatusCode;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;

/// The record of one request until it is written. It starts as a denial, which only a verdict changes.
pub(crate) struct RequestRecord {
    client: Arc<Client>,
    /// Boxed: it is large, and the rest of this is moved about.
    pub(crate) record: Box<Record>,
    started: Instant,
    /// Its permit among those for all requests, if one was free.
    permit: Option<OwnedSemaphorePermit>,
    /// Body bytes; counted by the bodies themselves.
    pub(crate) byte_counts: Arc<ByteCounts>,
    /// Whether any of it may have reached the upstream. A request that did was allowed, however it ends.
    pub(crate) sent: bool,
    /// Whether the exchange ended properly.
    pub(crate) complete: bool,
    /// Over HTTP/1: knows why the proxy broke a body off, if it did.
    pub(crate) exchange: Option<Arc<ExchangeState>>,
    /// The short phrase for what went wrong after it was allowed.
    fault: Option<String>,
}

impl RequestRecord {
    pub(crate) fn new(
        client: Arc<Client>,
        method: &http::Method,
        exchange: Option<Arc<ExchangeState>>,
    ) -> RequestRecord {
        client.note_request();
        let mut record = Box::new(client.record(EventKind::Request, Decision::Deny));
        record.method = Some(method.as_str().to_owned());
        let permit = client.context.requests.clone().try_acquire_owned().ok();
        RequestRecord {
            client,
            permit,
            record,
            started: Instant::now(),
            byte_counts: Arc::default(),
            sent: false,
            complete: false,
            exchange,
            fault: None,
        }
    }

    /// Returns the flush counter of the client's connection.
    pub(crate) fn flushes(&self) -> &FlushCounter {
        &self.client.flushes
    }

    /// Counts `bytes` of its answer, which are on their way to the client.
    pub(crate) fn receive(&self, bytes: usize) {
        self.byte_counts.receive(bytes);
        self.client.registration.holds(bytes);
    }

    /// Waits until it is known which program asks.
    pub(crate) async fn learn_program(&self) {
        self.client.learn_program().await;
    }

    /// Returns the program that asks, if it is known.
    pub(crate) async fn requester(&self) -> Option<Requester> {
        self.client.requester().await
    }

    /// Returns whether the number of requests is within its bound.
    pub(crate) fn has_permit(&self) -> bool {
        self.permit.is_some()
    }

    /// Notes that the head of the server's answer is here.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.record.status = Some(status.as_u16());
        self.client.context.counters.answered(self.started.elapsed());
    }

    /// Sets the reason, unless there is one already: the first is the cause of those after it.
    pub(crate) fn because(&mut self, reason: &str) {
        self.record.reason.get_or_insert_with(|| reason.to_owned());
    }

    /// Notes what went wrong after the verdict, which stays: a short phrase, and the same in words. The first is the
    /// cause of those after it.
    pub(crate) fn fail(&mut self, reason: &str, words: impl Into<String>) {
        self.fault.get_or_insert_with(|| reason.to_owned());
        self.record.failure.get_or_insert_with(|| words.into());
        self.record.complete = Some(false);
    }

    /// Notes that it gets `refusal` for an answer: that is the verdict, unless it had been let through and failed
    /// since.
    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        self.client.context.counters.refused(refusal.kind);
        if self.sent || matches!(refusal.kind, Kind::Upstream | Kind::Unread | Kind::TimedOut) {
            self.fail(refusal.reason, refusal.detail.as_str());
        } else {
            self.record.verdict = Some(Decision::Deny);
            self.record.reason = Some(refusal.reason.to_owned());
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if !self.complete {
            // The client has canceled it: what had not gone yet goes no more.
            let received = usize::try_from(self.byte_counts.received()).unwrap_or(usize::MAX);
            self.client.registration.takes(received.min(UNSENT_MAX));
            if self.record.verdict == Some(Decision::Allow) {
                self.record.complete = Some(false);
            }
            match self.exchange.as_ref().and_then(|exchange| exchange.body_fault()) {
                // What else went wrong then came of it.
                Some(fault) => {
                    self.fault = Some(fault.reason().to_owned());
                    self.record.failure = fault
                        .is_malformed()
                        .then(|| format!("The request's body: {}.", fault.words()));
                }
                None if self.fault.is_some() => {}
                None => self.because(self.client.registration.why().unwrap_or("cut short")),
            }
        }
        if let Some(fault) = self.fault.take() {
            self.because(&fault);
        }
        let mut record = std::mem::replace(&mut *self.record, Record::new(EventKind::Request));
        record.bytes_in = Some(self.byte_counts.sent());
        record.bytes_out = Some(self.byte_counts.received());
        record.duration_ms = Some(self.started.elapsed().as_secs_f64() * 1000.0);
        self.client.write(record);
    }
}
