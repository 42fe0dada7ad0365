//! The client of one connection: which program it is, where it wanted to go, and what the log says about it.

use crate::approve::Requester;
use crate::audit::{Decision, EventKind, Record};
use crate::net::{Flow, Holder, Host, Opener, OriginalDst, ProgramSource};
use crate::proxy::context::Context;
use crate::proxy::http1::unparsed::UnparsedRequest;
use crate::proxy::io::flush_counter::FlushCounter;
use crate::proxy::overload::clients::Registration;
use crate::proxy::upstream::client_connections::ClientConnections;
use http::StatusCode;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::sync::OnceCell;

/// Who is at the other end of an accepted connection.
pub(crate) struct Client {
    pub(crate) context: Arc<Context>,
    /// Its registration among the connected clients.
    pub(crate) registration: Arc<Registration>,
    /// Which process opened it and where it was meant to go; `None` for clients that know of the proxy.
    flow: Option<Flow>,
    holder: OnceCell<Option<Holder>>,
    accepted: Instant,
    /// Where a CONNECT on it leads, and since when.
    tunnel: OnceLock<(Host, u16, Instant)>,
    /// Whether anything came over the connection, and whether a request did.
    sent_bytes: AtomicBool,
    sent_request: AtomicBool,
    /// The upstream connections that belong to this one.
    pub(crate) bound: ClientConnections,
    /// Counts what has gone over it.
    pub(crate) flushes: Arc<FlushCounter>,
}

impl Client {
    pub(crate) fn new(context: Arc<Context>, flow: Option<Flow>, registration: Arc<Registration>) -> Arc<Client> {
        let client = Arc::new(Client {
            context,
            registration,
            flow,
            holder: OnceCell::new(),
            accepted: Instant::now(),
            tunnel: OnceLock::new(),
            sent_bytes: AtomicBool::new(false),
            sent_request: AtomicBool::new(false),
            bound: ClientConnections::default(),
            flushes: Arc::default(),
        });
        // Looks the program up now, while the first bytes arrive: it is usually known before a record is written.
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

    /// Returns whether [`Client::learn_program`] has nothing to wait for.
    pub(crate) fn knows_program(&self) -> bool {
        self.flow.is_none() || self.holder.initialized()
    }

    /// Waits until it is known which program this is. To be awaited before a record is written.
    pub(crate) async fn learn_program(&self) {
        let ask = async || {
            let flow = self.flow.clone()?;
            look_up(&*self.context.config.programs, flow).await
        };
        self.holder.get_or_init(ask).await;
    }

    /// Returns a record of something that this client did, refused or not.
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
        let behind = |dst: SocketAddr| self.context.config.names.name_of(dst.ip());
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

    /// Returns the program at the other end with those that started it, for the approver.
    pub(crate) async fn requester(&self) -> Option<Requester> {
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

    /// Records that the connection was closed because nothing was sent on it.
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
    pub(crate) async fn refused_with(&self, status: StatusCode, reason: &str, asked: UnparsedRequest) {
        self.note_request();
        self.learn_program().await;
        let mut record = self.record_of_all(EventKind::Refused, Some(Decision::Deny));
        (record.method, record.url) = (None, None);
        record.status = Some(status.as_u16());
        record.reason = Some(reason.to_owned());
        (record.method, record.url, record.host) = (asked.method, asked.url, asked.host);
        self.write(record);
    }

    /// Notes that a CONNECT on it was granted.
    pub(crate) fn leads_to(&self, host: &Host, port: u16) {
        // There is one at most: what is inside of it is served no other.
        let _ = self.tunnel.set((host.clone(), port, Instant::now()));
    }

    /// Returns since when the client could send what it sends now.
    pub(crate) fn began(&self) -> Instant {
        self.tunnel.get().map_or(self.accepted, |(_, _, since)| *since)
    }

    /// Notes that bytes came over the connection.
    pub(crate) fn note_bytes(&self) {
        self.sent_bytes.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_sent_bytes(&self) -> bool {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Notes that there is a request, valid or not.
    pub(crate) fn note_request(&self) {
        if !self.sent_request.swap(true, Ordering::Relaxed) {
            self.registration.note_request();
        }
    }

    /// Returns whether there was a request, valid or not.
    pub(crate) fn has_sent_request(&self) -> bool {
        self.sent_request.load(Ordering::Relaxed)
    }

    pub(crate) fn write(&self, mut record: Record) {
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
        self.context.counters.record(&record);
        self.context.config.audit.record(record);
    }
}

/// Who opened a connection, and what that runs.
async fn look_up(programs: &dyn ProgramSource, flow: Flow) -> Option<Holder> {
    match flow.opener? {
        Opener::Process(process) => Some(Holder {
            program: programs.program(process.pid).await.unwrap_or_default(),
            process,
            cgroup: flow.cgroup,
        }),
        Opener::Socket(socket) => programs.holder(socket).await,
    }
}
