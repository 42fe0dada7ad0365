//! The jailed side of one connection, and what is to be told of each thing it did.
//!
//! An [`Entry`] is the promise of one line in the log: it is written when it is dropped, whichever way its request ended,
//! so no path through the proxy can forget it.

use crate::approve::Requester;
use crate::audit::{Decision, EventKind, Record};
use crate::net::{Flow, Holder, Host, Opener, OriginalDst, ProgramSource};
use crate::proxy::Proxy;
use crate::proxy::downstream::http1_gate::Aside;
use crate::proxy::http1::unparsed::Asked;
use crate::proxy::io::flush_counter::Flushes;
use crate::proxy::overload::clients::Guest;
use crate::proxy::refusal::{Kind, Refusal};
use crate::proxy::upstream::bound::Bound;
use http::StatusCode;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::sync::{OnceCell, OwnedSemaphorePermit};

/// Who is at the other end of an accepted connection.
pub(crate) struct Client {
    pub(crate) proxy: Arc<Proxy>,
    /// Its place among all who are connected.
    pub(crate) guest: Arc<Guest>,
    /// Whose connection it is and where it was meant to go; nothing where clients come by themselves.
    flow: Option<Flow>,
    holder: OnceCell<Option<Holder>>,
    accepted: Instant,
    /// Where a CONNECT on it leads, and since when.
    tunnel: OnceLock<(Host, u16, Instant)>,
    /// Whether anything came over the connection, and whether a request did.
    heard: AtomicBool,
    spoke: AtomicBool,
    /// The upstream connections that are about this one.
    pub(crate) bound: Bound,
    /// What has gone over it.
    pub(crate) flushes: Arc<Flushes>,
}

impl Client {
    pub(crate) fn new(proxy: Arc<Proxy>, flow: Option<Flow>, guest: Arc<Guest>) -> Arc<Client> {
        let client = Arc::new(Client {
            proxy,
            guest,
            flow,
            holder: OnceCell::new(),
            accepted: Instant::now(),
            tunnel: OnceLock::new(),
            heard: AtomicBool::new(false),
            spoke: AtomicBool::new(false),
            bound: Bound::default(),
            flushes: Arc::default(),
        });
        // Asked now, beside the first bytes' way here: by the time something is recorded it is mostly there.
        if client.flow.as_ref().is_some_and(|flow| flow.opener.is_some()) {
            let asking = client.clone();
            tokio::spawn(async move { asking.learn_program().await });
        }
        client
    }

    /// Where the connection was meant to go, if it was steered here.
    pub(crate) fn original(&self) -> Option<OriginalDst> {
        self.flow.as_ref().map(|flow| flow.original)
    }

    /// Waits until it is known which program this is. Await it before what ends in a record.
    pub(crate) async fn learn_program(&self) {
        let ask = async || {
            let flow = self.flow.clone()?;
            let programs = self.proxy.config.programs.clone();
            // The look-up blocks. If its task fails the program is not known.
            tokio::task::spawn_blocking(move || look_up(&*programs, flow))
                .await
                .ok()?
        };
        self.holder.get_or_init(ask).await;
    }

    /// A record of something that this client did, refused or not.
    pub(crate) fn record(&self, event: EventKind, verdict: Decision) -> Record {
        let mut record = Record::new(event);
        record.verdict = Some(verdict);
        let Some(flow) = &self.flow else { return record };
        record.dst = Some(flow.original.0);
        record.cgroup = flow.cgroup;
        record
    }

    /// A record of the connection itself, by the name that it was opened for.
    fn record_of_all(&self, event: EventKind, verdict: Option<Decision>) -> Record {
        let mut record = self.record(event, Decision::Deny);
        record.verdict = verdict;
        let behind = |dst: SocketAddr| self.proxy.config.names.name_of(dst.ip());
        let host = match self.tunnel.get() {
            Some((host, port, _)) => {
                record.method = Some("CONNECT".to_owned());
                record.url = Some(format!("{host}:{port}"));
                Some(host.clone())
            }
            None => record.dst.and_then(behind),
        };
        record.host = host.map(|host| host.to_string());
        record
    }

    /// The program at the other end with those that started it, for whoever is to decide about what it asks.
    async fn requester(&self) -> Option<Requester> {
        self.learn_program().await;
        let Holder { process, program, .. } = self.holder.get().cloned().flatten()?;
        Some(Requester {
            pid: process.pid,
            exe: program.exe,
            comm: process.comm,
            parents: program.parents,
        })
    }

    /// Records that the connection was refused as a whole; `host` is what its TLS named.
    pub(crate) async fn refused(&self, reason: &str, host: Option<String>) {
        self.ended(EventKind::Refused, Some(Decision::Deny), reason, host).await;
    }

    /// Records that nothing was asked for on the connection before it ended.
    pub(crate) async fn unused(&self, reason: &str, host: Option<String>) {
        self.ended(EventKind::Unused, None, reason, host).await;
    }

    /// Records that the connection was closed for nothing was said on it.
    pub(crate) async fn silent(&self, reason: &str) {
        self.ended(EventKind::Silent, None, reason, None).await;
    }

    async fn ended(&self, event: EventKind, verdict: Option<Decision>, reason: &str, host: Option<String>) {
        self.learn_program().await;
        let mut record = self.record_of_all(event, verdict);
        record.reason = Some(reason.to_owned());
        record.host = host.or(record.host);
        self.write(record);
    }

    /// Records that what was said on the connection is refused, with what it asked for and the answer to it.
    pub(crate) async fn refused_with(&self, status: StatusCode, reason: &str, asked: Asked) {
        self.asks();
        self.learn_program().await;
        let mut record = self.record_of_all(EventKind::Refused, Some(Decision::Deny));
        (record.method, record.url) = (None, None);
        record.status = Some(status.as_u16());
        record.reason = Some(reason.to_owned());
        (record.method, record.url, record.host) = (asked.method, asked.url, asked.host);
        self.write(record);
    }

    /// A CONNECT on it was granted.
    pub(crate) fn leads_to(&self, host: &Host, port: u16) {
        // There is one at most: what is inside of it is served no other.
        let _ = self.tunnel.set((host.clone(), port, Instant::now()));
    }

    /// When what is said now could begin to be said.
    pub(crate) fn began(&self) -> Instant {
        self.tunnel.get().map_or(self.accepted, |(_, _, since)| *since)
    }

    /// Something came over the connection.
    pub(crate) fn hears(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// There is a request, understood or not.
    fn asks(&self) {
        if !self.spoke.swap(true, Ordering::Relaxed) {
            self.guest.has_asked();
        }
    }

    /// Whether any request was understood, or refused.
    pub(crate) fn has_spoken(&self) -> bool {
        self.spoke.load(Ordering::Relaxed)
    }

    fn write(&self, mut record: Record) {
        match (
            self.holder.get(),
            self.flow.as_ref().and_then(|flow| flow.opener.as_ref()),
        ) {
            (Some(Some(holder)), _) => record.of(holder.clone()),
            // Not asked yet, or for nothing: the kernel's word stands.
            (_, Some(Opener::Process(process))) => {
                (record.pid, record.comm) = (Some(process.pid), Some(process.comm.clone()));
            }
            _ => {}
        }
        self.proxy.config.audit.record(record);
    }
}

/// Who opened a connection, and what that runs. Blocks.
fn look_up(programs: &dyn ProgramSource, flow: Flow) -> Option<Holder> {
    match flow.opener? {
        Opener::Process(process) => Some(Holder {
            program: programs.program(process.pid).unwrap_or_default(),
            process,
            cgroup: flow.cgroup,
        }),
        Opener::Socket(socket) => programs.holder(socket),
    }
}

/// What has moved so far.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    /// Counts what goes upstream.
    pub(crate) fn send(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts what goes to the client.
    pub(crate) fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// The log line of one request, in the making. Starts as a denial: whoever allows says so.
pub(crate) struct Entry {
    client: Arc<Client>,
    pub(crate) record: Record,
    started: Instant,
    /// Its place among all requests, if there was one.
    place: Option<OwnedSemaphorePermit>,
    /// Body bytes; counted by the bodies themselves.
    pub(crate) traffic: Arc<Traffic>,
    /// Whether any of it may have reached the upstream: a request that did was allowed, whatever becomes of it.
    pub(crate) sent: bool,
    /// Whether the exchange came to its proper end.
    pub(crate) complete: bool,
    /// Over HTTP/1: knows why a body was broken off, if we did it.
    pub(crate) aside: Option<Arc<Aside>>,
    /// The short phrase for what went wrong after it was let through.
    fault: Option<String>,
}

impl Entry {
    pub(crate) fn new(client: Arc<Client>, method: &http::Method) -> Entry {
        client.asks();
        let mut record = client.record(EventKind::Request, Decision::Deny);
        record.method = Some(method.as_str().to_owned());
        let place = client.proxy.requests.clone().try_acquire_owned().ok();
        Entry {
            client,
            place,
            record,
            started: Instant::now(),
            traffic: Arc::default(),
            sent: false,
            complete: false,
            aside: None,
            fault: None,
        }
    }

    /// What has gone over the client's connection.
    pub(crate) fn flushes(&self) -> &Flushes {
        &self.client.flushes
    }

    /// Waits until it is known which program asks.
    pub(crate) async fn learn_program(&self) {
        self.client.learn_program().await;
    }

    /// The program that asks, where that is known.
    pub(crate) async fn requester(&self) -> Option<Requester> {
        self.client.requester().await
    }

    /// Whether there are no more requests at the same time than may be.
    pub(crate) fn has_place(&self) -> bool {
        self.place.is_some()
    }

    /// Gives the reason, unless there is one already: the first is the cause of those after it.
    pub(crate) fn because(&mut self, reason: &str) {
        self.record.reason.get_or_insert_with(|| reason.to_owned());
    }

    /// Says what went wrong after the verdict, which stays: a short phrase, and the same in words. The first is the cause of
    /// those after it.
    pub(crate) fn fail(&mut self, reason: &str, words: impl Into<String>) {
        self.fault.get_or_insert_with(|| reason.to_owned());
        self.record.failure.get_or_insert_with(|| words.into());
        self.record.complete = Some(false);
    }

    /// Says that it gets `refusal` for an answer: that is the verdict, unless it had been let through and failed since.
    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        if self.sent || matches!(refusal.kind, Kind::Upstream | Kind::Unread | Kind::TimedOut) {
            self.fail(refusal.reason, refusal.detail.as_str());
        } else {
            self.record.verdict = Some(Decision::Deny);
            self.record.reason = Some(refusal.reason.to_owned());
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.complete {
            if self.record.verdict == Some(Decision::Allow) {
                self.record.complete = Some(false);
            }
            match self.aside.as_ref().and_then(|aside| aside.body_fault()) {
                // What else went wrong then came of it.
                Some(fault) => {
                    self.fault = Some(fault.reason().to_owned());
                    self.record.failure = fault
                        .is_malformed()
                        .then(|| format!("The request's body: {}.", fault.words()));
                }
                None if self.fault.is_some() => {}
                None => self.because(self.client.guest.why().unwrap_or("cut short")),
            }
        }
        if let Some(fault) = self.fault.take() {
            self.because(&fault);
        }
        let mut record = std::mem::replace(&mut self.record, Record::new(EventKind::Request));
        record.bytes_in = Some(self.traffic.sent());
        record.bytes_out = Some(self.traffic.received());
        record.duration_ms = Some(self.started.elapsed().as_secs_f64() * 1000.0);
        self.client.write(record);
    }
}
