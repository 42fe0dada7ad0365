//! State that the stream below hyper's HTTP/1 server and the service above it share.
//!
//! hyper stands between the two and cannot carry these facts: that a head was refused before hyper saw it, that a body
//! is broken off on purpose, how a request for another protocol was answered.

use crate::proxy::http1::framing::fault::Fault;
use crate::proxy::http1::informational::InformationalQueue;
use crate::proxy::http1::unparsed::UnparsedRequest;
use crate::proxy::timeout::Late;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

/// The shared state of one HTTP/1 connection.
#[derive(Default)]
pub(crate) struct ExchangeState {
    head_fault: OnceLock<(Fault, UnparsedRequest)>,
    body_fault: OnceLock<Fault>,
    /// What became of a request for another protocol: [`UNDECIDED`], [`ORDINARY`] or [`TUNNEL`].
    switch: AtomicU8,
    /// Whether a request is being answered.
    in_flight: AtomicBool,
    /// Whether a head has begun that is not whole yet, and why the proxy waits for it no longer.
    in_head: AtomicBool,
    late: OnceLock<Late>,
    /// What the upstream says before its answer.
    pub(crate) informational: InformationalQueue,
}

const UNDECIDED: u8 = 0;
const ORDINARY: u8 = 1;
const TUNNEL: u8 = 2;

/// The answer to a request for another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    /// HTTP goes on.
    Ordinary,
    /// What follows is not HTTP.
    Tunnel,
}

impl ExchangeState {
    /// Marks that a request is being answered, for as long as the guard lives.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.store(true, Ordering::Release);
        self.switch.store(UNDECIDED, Ordering::Release);
        InFlight(self.clone())
    }

    /// Notes the answer to the request that is being answered.
    pub(crate) fn decide(&self, switch: Switch) {
        let switch = match switch {
            Switch::Ordinary => ORDINARY,
            Switch::Tunnel => TUNNEL,
        };
        self.switch.store(switch, Ordering::Release);
    }

    /// Takes the answer to the last request for another protocol, if there is one.
    pub(crate) fn take_decision(&self) -> Option<Switch> {
        match self.switch.swap(UNDECIDED, Ordering::AcqRel) {
            ORDINARY => Some(Switch::Ordinary),
            TUNNEL => Some(Switch::Tunnel),
            _ => None,
        }
    }

    /// Returns whether a request is being answered.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Notes why a head is refused, and what it asked for.
    pub(crate) fn refuse_head(&self, fault: Fault, asked: UnparsedRequest) {
        let _ = self.head_fault.set((fault, asked));
    }

    /// Returns why the head was refused that the service is to answer.
    pub(crate) fn head_fault(&self) -> (Fault, UnparsedRequest) {
        // The gate notes one before the service is called.
        self.head_fault
            .get()
            .cloned()
            .unwrap_or((Fault::StartLine, UnparsedRequest::default()))
    }

    /// Notes why the body of the request that is being answered breaks off.
    pub(crate) fn break_body(&self, fault: Fault) {
        let _ = self.body_fault.set(fault);
    }

    /// Returns why the proxy broke off the body of the request that is being answered, if it did.
    pub(crate) fn body_fault(&self) -> Option<Fault> {
        self.body_fault.get().copied()
    }

    /// Notes whether a head has begun that is not whole yet.
    pub(crate) fn set_in_head(&self, in_head: bool) {
        self.in_head.store(in_head, Ordering::Relaxed);
    }

    /// Notes that a head took too long.
    pub(crate) fn set_late(&self, late: Late) {
        let _ = self.late.set(late);
    }

    /// Returns where the connection ended, for one that no request tells of.
    pub(crate) fn ended(&self) -> Ended {
        match (self.in_head.load(Ordering::Relaxed), self.late.get()) {
            (true, Some(late)) => Ended::Late(*late),
            (true, None) => Ended::Within,
            (false, _) => Ended::Between,
        }
    }
}

/// Where a connection ended.
pub(crate) enum Ended {
    /// Where a request may begin.
    Between,
    /// In the middle of a head.
    Within,
    /// In the middle of one that took too long.
    Late(Late),
}

/// Marks a request as in flight while it lives.
pub(crate) struct InFlight(Arc<ExchangeState>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.store(false, Ordering::Release);
    }
}
