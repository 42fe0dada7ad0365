//! Serves the resolver's sockets.
//!
//! Each datagram is answered on its own socket, to its sender; the backend restores the server's address that the program asked.
//! TCP follows RFC 7766: a length before each message, several messages on a connection. Memory is bounded: one buffer for each
//! socket, a limit on connections, an idle time-out, and a bounded table of names.

use super::datagram;
use super::message::{self, Anomaly, LONGEST, Question};
use super::relay::{self, Relay, Via};
use super::synthetic::SyntheticAddresses;
use crate::audit::{Admission, Bucket, Decision, EventKind, Record, Sink};
use crate::net::{AskedServerSource, ClientAddr, OriginalDst, OriginalDstSource};
use crate::sync::lock;
use hickory_proto::op::ResponseCode;
use socket2::SockRef;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// TCP connections at a time. A further one is closed at once.
const CONNECTIONS: usize = 64;

/// How long a TCP connection may take for the next message, or to accept an answer.
const IDLE: Duration = Duration::from_secs(10);

/// The pause after a socket's error (for example, no descriptors left), so that a loop does not spin.
const PAUSE: Duration = Duration::from_millis(50);

/// Records of unusual questions: so many at once, and one a second after that.
const BURST: u32 = 20;
const PER_SECOND: u32 = 1;

/// Where answers come from (`--dns`).
pub(crate) enum Answers {
    /// From the table of synthetic addresses.
    Synthetic(Arc<SyntheticAddresses>),
    /// From servers outside.
    Relayed(Arc<Relay>),
    /// Every question is refused.
    Off,
}

/// Answers on these sockets until `shutdown` completes. Fails when a socket cannot be used, or when a task ends too early: a jail
/// without its resolver is closed, not open. `flows` knows which TCP connections come from the jail. `clients` knows which
/// datagrams do; it is needed where programs outside the jail can send some, too.
pub(crate) async fn serve(
    answers: Answers,
    udp: Vec<std::net::UdpSocket>,
    tcp: Vec<std::net::TcpListener>,
    flows: Arc<dyn OriginalDstSource>,
    clients: Option<Arc<dyn AskedServerSource>>,
    sink: Arc<dyn Sink>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let resolver = Arc::new(Resolver {
        answers,
        recorder: Recorder {
            sink,
            state: Mutex::new((Bucket::new(BURST, PER_SECOND), false)),
        },
        connections: Arc::new(Semaphore::new(CONNECTIONS)),
        flows,
        clients,
    });
    // Dropping the set ends its tasks.
    let mut tasks = JoinSet::new();
    for socket in udp {
        socket.set_nonblocking(true)?;
        tasks.spawn(datagrams(Arc::clone(&resolver), UdpSocket::from_std(socket)?));
    }
    for listener in tcp {
        listener.set_nonblocking(true)?;
        tasks.spawn(connections(Arc::clone(&resolver), TcpListener::from_std(listener)?));
    }
    tokio::select! {
        () = shutdown => Ok(()),
        Some(_) = tasks.join_next() => Err(io::Error::other("a task of the resolver ended")),
    }
}

struct Resolver {
    answers: Answers,
    recorder: Recorder,
    connections: Arc<Semaphore>,
    flows: Arc<dyn OriginalDstSource>,
    clients: Option<Arc<dyn AskedServerSource>>,
}

/// The next step for one message.
enum Step {
    /// It has this answer, or gets none.
    Done(Option<Vec<u8>>),
    /// A server outside must be asked.
    Ask(Arc<Relay>, Box<Question>),
}

impl Resolver {
    fn answer(&self, bytes: &[u8]) -> Step {
        let answer = match &self.answers {
            Answers::Synthetic(names) => message::answer(bytes, names),
            Answers::Off => message::refuse(bytes),
            Answers::Relayed(relay) => match message::read(bytes) {
                Ok(question) => return Step::Ask(Arc::clone(relay), Box::new(question)),
                Err(answer) => answer,
            },
        };
        if let Some(anomaly) = answer.anomaly {
            self.recorder.record(anomaly, Instant::now());
        }
        Step::Done(answer.reply)
    }

    /// Asks a server outside, and records the question with that server.
    async fn ask(&self, relay: &Relay, question: &Question, servers: &[SocketAddr], via: Via) -> Option<Vec<u8>> {
        let answer = relay.ask(question, servers).await;
        let (unanswered, server) = match &answer {
            Some((_, server)) => ("", Some(*server)),
            None => (", no answer", servers.first().copied()),
        };
        self.recorder.sink.record(Record {
            verdict: Some(Decision::Allow),
            host: Some(question.name()),
            dst: server,
            reason: Some(format!("dns type {}{unanswered}", question.query.query_type)),
            ..Record::new(EventKind::Dns)
        });
        match answer {
            Some((answer, _)) => relay::passed_on(answer, question, via),
            None => question.refused(ResponseCode::ServFail, false),
        }
    }
}

async fn datagrams(resolver: Arc<Resolver>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut asking = JoinSet::new();
    // One byte more than the longest question: a longer one fills the buffer.
    let mut buffer = [0; LONGEST + 1];
    loop {
        let (length, asked) = match datagram::receive(&socket, &mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "the resolver cannot receive");
                sleep(PAUSE).await;
                continue;
            }
        };
        let clients = resolver.clients.as_ref();
        if clients.is_some_and(|clients| clients.asked(ClientAddr(asked.client())).is_none()) {
            continue;
        }
        // A client that has ended misses its answer, as on any network.
        match resolver.answer(buffer.get(..length).unwrap_or_default()) {
            Step::Done(Some(reply)) => drop(datagram::answer(&socket, &reply, &asked).await),
            Step::Done(None) => {}
            Step::Ask(relay, question) => {
                while asking.try_join_next().is_some() {}
                let servers = match asked.server() {
                    Some(server) => relay.servers_for(Some(server)),
                    None => relay.servers_for_datagram(asked.client()),
                };
                let (resolver, socket) = (Arc::clone(&resolver), Arc::clone(&socket));
                asking.spawn(async move {
                    if let Some(reply) = resolver.ask(&relay, &question, &servers, Via::Datagram).await {
                        drop(datagram::answer(&socket, &reply, &asked).await);
                    }
                });
            }
        }
    }
}

async fn connections(resolver: Arc<Resolver>, listener: TcpListener) {
    let mut clients = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                // Take each flow, or the table of flows fills up. A client without one is not a program of the jail.
                let Some(flow) = resolver.flows.take(ClientAddr(client), SockRef::from(&stream)) else {
                    continue;
                };
                while clients.try_join_next().is_some() {}
                // Without a permit the stream is dropped, and so closed.
                if let Ok(permit) = Arc::clone(&resolver.connections).try_acquire_owned() {
                    let resolver = Arc::clone(&resolver);
                    clients.spawn(async move {
                        let _permit = permit;
                        if let Err(error) = connection(&resolver, stream, flow.original).await {
                            tracing::debug!(%error, "a DNS connection ended");
                        }
                    });
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the resolver cannot accept");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(resolver: &Resolver, mut stream: TcpStream, asked: OriginalDst) -> io::Result<()> {
    let mut buffer = [0; LONGEST + 1];
    loop {
        let Some(length) = timeout(IDLE, receive(&mut stream, &mut buffer)).await?? else {
            return Ok(());
        };
        let reply = match resolver.answer(buffer.get(..length).unwrap_or_default()) {
            Step::Done(reply) => reply,
            Step::Ask(relay, question) => {
                let servers = relay.servers_for(Some(asked));
                resolver.ask(&relay, &question, &servers, Via::Connection).await
            }
        };
        if let Some(reply) = reply {
            let prefix = u16::try_from(reply.len()).map_err(io::Error::other)?.to_be_bytes();
            timeout(IDLE, stream.write_all(&[&prefix, &reply[..]].concat())).await??;
        }
        if length > LONGEST {
            // The rest of the message is not read, so the connection ends.
            return Ok(());
        }
    }
}

/// Reads one message, or as much of it as fits into the buffer. Returns `None` at the end of the connection.
async fn receive(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let length = match stream.read_u16().await {
        Ok(length) => usize::from(length).min(buffer.len()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if let Some(message) = buffer.get_mut(..length) {
        stream.read_exact(message).await?;
    }
    Ok(Some(length))
}

/// Records unusual questions, a few a second.
struct Recorder {
    sink: Arc<dyn Sink>,
    /// The rate limit, and whether the full table was recorded.
    state: Mutex<(Bucket, bool)>,
}

impl Recorder {
    fn record(&self, anomaly: Anomaly, now: Instant) {
        let held_back = {
            let mut state = lock(&self.state);
            let (bucket, recorded) = &mut *state;
            if anomaly.full {
                if std::mem::replace(recorded, true) {
                    return;
                }
                0
            } else {
                match bucket.admit(now) {
                    Admission::Pass { held_back } => held_back,
                    Admission::Hold => return,
                }
            }
        };
        if held_back > 0 {
            let reason = Some(format!("{held_back} more unusual dns questions not recorded"));
            self.sink.record(Record {
                verdict: Some(Decision::Deny),
                reason,
                ..Record::new(EventKind::Dns)
            });
        }
        self.sink.record(Record {
            verdict: Some(Decision::Deny),
            host: anomaly.name,
            reason: Some(anomaly.reason),
            ..Record::new(EventKind::Dns)
        });
    }
}

#[cfg(test)]
mod tests;
