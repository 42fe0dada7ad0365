//! `--dns relay` and `--dns open`: questions of the jail that are asked outside, of the host's name servers or of the one
//! that the program named.
//!
//! What goes out is written anew from the one question that was read, never the jail's bytes: no records, no options.
//! Each try has a random id and a socket, and so a source port, of its own; only an answer from the server that was
//! asked, to that very id and question, letter for letter, is passed on (RFC 5452, 9.1). How many are under way is bounded.

use super::message::{PAYLOAD, Question};
use crate::net::{AskedServerSource, ClientAddr, OriginalDst};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use ring::rand::{SecureRandom, SystemRandom};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Questions under way at a time; one more is answered SERVFAIL at once.
const UNDER_WAY: usize = 256;

/// For one try with one server, and how often the servers are gone through. resolv.conf(5) waits longer, but so does the
/// client: it has given up by then.
const TRY: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;

/// No more servers than a libc would ask (`MAXNS`).
const SERVERS: usize = 3;

const DNS: u16 = 53;

/// Asks outside.
pub(crate) struct Relay {
    servers: Servers,
    permits: Semaphore,
}

/// Who is asked.
pub(crate) enum Servers {
    /// Those of this file, in the form of resolv.conf(5), read for each question: a laptop changes its network.
    Of(PathBuf),
    /// The one that the program named; the file's where it named the jail itself.
    Named {
        /// Knows which one that was.
        by: Arc<dyn AskedServerSource>,
        /// The jail's own addresses besides loopback, one of which stands in its resolv.conf.
        own: Vec<IpAddr>,
        /// As [`Servers::Of`].
        host: PathBuf,
    },
}

/// How a question came.
#[derive(Clone, Copy)]
pub(super) enum Via {
    Datagram,
    Connection,
}

impl Relay {
    /// A relay to these servers.
    pub(crate) fn new(servers: Servers) -> Self {
        Relay {
            servers,
            permits: Semaphore::new(UNDER_WAY),
        }
    }

    /// Whom to ask what `client` sent in a datagram, best first.
    pub(super) fn servers_for_datagram(&self, client: SocketAddr) -> Vec<SocketAddr> {
        let asked = match &self.servers {
            Servers::Of(_) => None,
            Servers::Named { by, .. } => by.asked(ClientAddr(client)),
        };
        self.servers_for(asked)
    }

    /// Whom to ask what was meant for `asked`, best first.
    pub(super) fn servers_for(&self, asked: Option<OriginalDst>) -> Vec<SocketAddr> {
        let (own, host) = match &self.servers {
            Servers::Of(host) => return configured(host),
            Servers::Named { own, host, .. } => (own, host),
        };
        match asked.map(|asked| SocketAddr::new(asked.0.ip().to_canonical(), asked.0.port())) {
            // The jail's loopback is not the host's: a program that names it means "whoever is configured here".
            Some(server) if server.ip().is_loopback() || own.contains(&server.ip()) => configured(host),
            Some(server) if is_one_host(server.ip()) => vec![server],
            Some(_) | None => Vec::new(),
        }
    }

    /// The answer to `question`, with the server that gave it; `None` when nobody did in time.
    pub(super) async fn ask(&self, question: &Question, servers: &[SocketAddr]) -> Option<(Vec<u8>, SocketAddr)> {
        let _permit = self.permits.try_acquire().ok()?;
        for _ in 0..ROUNDS {
            for server in servers {
                match timeout(TRY, exchange(question, *server)).await {
                    Ok(Ok(answer)) => return Some((answer, *server)),
                    Ok(Err(error)) => tracing::debug!(%server, %error, "a name server gave no answer"),
                    Err(_) => tracing::debug!(%server, "a name server gave no answer in time"),
                }
            }
        }
        None
    }
}

/// Multicast and broadcast addresses would ask many, `0.0.0.0` this host.
fn is_one_host(address: IpAddr) -> bool {
    !address.is_multicast() && !address.is_unspecified() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// The name servers of a resolv.conf; this host where it names none, as libc takes it.
fn configured(file: &PathBuf) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    parse(&text)
}

fn parse(text: &str) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        // One with a zone (`fe80::1%eth0`) is passed over.
        (words.next()? == "nameserver").then_some(words.next()?.parse::<IpAddr>().ok()?)
    });
    let mut servers: Vec<_> = named.take(SERVERS).map(|ip| SocketAddr::new(ip, DNS)).collect();
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, DNS).into());
    }
    servers
}

/// One question to one server, by UDP, and by TCP where the answer is too long for that.
async fn exchange(question: &Question, server: SocketAddr) -> io::Result<Vec<u8>> {
    let (id, message) = written(question)?;
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Port 0: the kernel picks one at random. Connected: it drops what comes from anybody else.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&message).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..length).unwrap_or_default();
        // Anything else may be a forgery; the true answer may still come.
        match answers(answer, id, question) {
            Some(truncated) if truncated => break,
            Some(_) => return Ok(answer.to_vec()),
            None => {}
        }
    }
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes(), &message[..]].concat())
        .await?;
    let length = usize::from(stream.read_u16().await?);
    buffer.truncate(length);
    stream.read_exact(&mut buffer).await?;
    match answers(&buffer, id, question) {
        Some(_) => Ok(buffer),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "it answered something else")),
    }
}

/// The question as it goes out, and its id.
fn written(question: &Question) -> io::Result<(u16, Vec<u8>)> {
    let mut id = [0; 2];
    let filled = SystemRandom::new().fill(&mut id);
    filled.map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let id = u16::from_be_bytes(id);
    let asked = question.metadata();
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = asked.recursion_desired;
    message.metadata.authentic_data = asked.authentic_data;
    message.metadata.checking_disabled = asked.checking_disabled;
    message.queries.push(question.query.clone());
    if let Some(asked) = &question.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        message.edns = Some(edns);
    }
    Ok((id, message.to_vec().map_err(io::Error::other)?))
}

/// Whether `bytes` answer the question that went out as `id`, and if so whether they were cut short.
fn answers(bytes: &[u8], id: u16, question: &Question) -> Option<bool> {
    let (header, rest) = bytes.split_first_chunk::<12>()?;
    let [i, d, flags, _, queries @ ..] = *header;
    let fits = u16::from_be_bytes([i, d]) == id && flags & 0xf8 == 0x80 && queries[..2] == [0, 1];
    (fits && rest.starts_with(&question.bytes)).then_some(flags & 2 != 0)
}

/// What the jail gets of a server's answer: with its own id, and cut to what it said it can take.
pub(super) fn passed_on(mut answer: Vec<u8>, question: &Question, via: Via) -> Option<Vec<u8>> {
    let most = match (via, &question.edns) {
        (Via::Connection, _) => usize::from(u16::MAX),
        (Via::Datagram, Some(edns)) => usize::from(edns.max_payload().clamp(512, PAYLOAD)),
        (Via::Datagram, None) => 512,
    };
    if answer.len() > most {
        return question.refused(ResponseCode::NoError, true);
    }
    answer
        .get_mut(..2)?
        .copy_from_slice(&question.metadata().id.to_be_bytes());
    Some(answer)
}

#[cfg(test)]
mod tests;
