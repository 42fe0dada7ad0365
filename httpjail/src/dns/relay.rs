//! Implements `--dns relay` and `--dns open`: asks the host's name servers, or the server that the program names.
//!
//! The message that goes out is encoded from the parsed question. It never contains the jail's bytes, records or options. Each
//! try has its own random id and its own socket, and so its own source port. Only an answer from the server that was asked, with
//! that id and exactly that question, is passed on (RFC 5452, 9.1). The number of open questions is bounded.

use super::message::{PAYLOAD, Question};
use super::network::Network;
use super::resolv_conf::ResolvConf;
use crate::net::{AskedServerSource, ClientAddr, OriginalDst};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use ring::rand::{SecureRandom, SystemRandom};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Open questions at a time. A further one is answered SERVFAIL at once.
const UNDER_WAY: usize = 256;

/// The time for one try with one server, and how often all servers are tried. resolv.conf(5) waits longer, but by then the client has
/// given up.
const TRY: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;

/// Asks name servers outside.
pub(crate) struct Relay {
    servers: Servers,
    network: Network,
    permits: Semaphore,
}

/// The servers that are asked.
pub(crate) enum Servers {
    /// Those that are configured.
    Of(Configured),
    /// The server that the program named, or those that are configured if it named the jail itself.
    Named {
        /// Knows which server that was.
        by: Arc<dyn AskedServerSource>,
        /// The jail's own addresses besides loopback. Its resolv.conf has one of them.
        own: Vec<IpAddr>,
        /// As [`Servers::Of`].
        configured: Configured,
    },
}

/// The servers of a network.
pub(crate) enum Configured {
    /// Those of this file, in the form of resolv.conf(5). It is read for each question, because laptops change networks.
    File(PathBuf),
    /// These.
    Fixed(Vec<SocketAddr>),
}

/// How a question came.
#[derive(Clone, Copy)]
pub(super) enum Via {
    Datagram,
    Connection,
}

impl Relay {
    pub(crate) fn new(servers: Servers, network: Network) -> Self {
        Relay {
            servers,
            network,
            permits: Semaphore::new(UNDER_WAY),
        }
    }

    /// Returns the servers for a datagram of `client`, the best first.
    pub(super) fn servers_for_datagram(&self, client: SocketAddr) -> Vec<SocketAddr> {
        let asked = match &self.servers {
            Servers::Of(_) => None,
            Servers::Named { by, .. } => by.asked(ClientAddr(client)),
        };
        self.servers_for(asked)
    }

    /// Returns the servers for a question that was sent to `asked`, the best first.
    pub(super) fn servers_for(&self, asked: Option<OriginalDst>) -> Vec<SocketAddr> {
        let (own, configured) = match &self.servers {
            Servers::Of(configured) => return configured.servers(),
            Servers::Named { own, configured, .. } => (own, configured),
        };
        match asked.map(|asked| SocketAddr::new(asked.0.ip().to_canonical(), asked.0.port())) {
            // The jail's loopback is not the host's. A program that names it means the configured servers.
            Some(server) if server.ip().is_loopback() || own.contains(&server.ip()) => configured.servers(),
            Some(server) if is_one_host(server.ip()) => vec![server],
            Some(_) | None => Vec::new(),
        }
    }

    /// Returns the answer to `question` with the server that gave it, or `None` if no server answered in time.
    pub(super) async fn ask(&self, question: &Question, servers: &[SocketAddr]) -> Option<(Vec<u8>, SocketAddr)> {
        let _permit = self.permits.try_acquire().ok()?;
        for _ in 0..ROUNDS {
            for server in servers {
                match timeout(TRY, exchange(&self.network, question, *server)).await {
                    Ok(Ok(answer)) => return Some((answer, *server)),
                    Ok(Err(error)) => tracing::debug!(%server, %error, "a name server gave no answer"),
                    Err(_) => tracing::debug!(%server, "a name server gave no answer in time"),
                }
            }
        }
        None
    }
}

impl Configured {
    fn servers(&self) -> Vec<SocketAddr> {
        match self {
            // A host whose file names none asks itself, as libc does.
            Configured::File(path) => {
                ResolvConf::parse(&std::fs::read(path).unwrap_or_default())
                    .or_itself()
                    .servers
            }
            Configured::Fixed(servers) => servers.clone(),
        }
    }
}

/// Returns false for addresses that mean many hosts (multicast, broadcast) or this one (`0.0.0.0`).
pub(super) fn is_one_host(address: IpAddr) -> bool {
    !address.is_multicast() && !address.is_unspecified() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Asks one server by UDP, and by TCP if the answer is too long for UDP.
async fn exchange(network: &Network, question: &Question, server: SocketAddr) -> io::Result<Vec<u8>> {
    let (id, message) = written(question)?;
    let socket = network.datagram(server).await?;
    socket.send(&message).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..length).unwrap_or_default();
        // Anything else may be forged, and the real answer may still come.
        match answers(answer, id, question) {
            Some(truncated) if truncated => break,
            Some(_) => return Ok(answer.to_vec()),
            None => {}
        }
    }
    let mut stream = network.stream(server).await?;
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes(), &message[..]].concat())
        .await?;
    let length = usize::from(stream.read_u16().await?);
    buffer.truncate(length);
    stream.read_exact(&mut buffer).await?;
    match answers(&buffer, id, question) {
        Some(_) => Ok(buffer),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "its answer is not to this question",
        )),
    }
}

/// Encodes the question, and returns it with its id.
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

/// Returns `None` if `bytes` do not answer the question with this `id`, otherwise whether the answer is truncated.
fn answers(bytes: &[u8], id: u16, question: &Question) -> Option<bool> {
    let (header, rest) = bytes.split_first_chunk::<12>()?;
    let [i, d, flags, _, queries @ ..] = *header;
    let fits = u16::from_be_bytes([i, d]) == id && flags & 0xf8 == 0x80 && queries[..2] == [0, 1];
    (fits && rest.starts_with(&question.bytes)).then_some(flags & 2 != 0)
}

/// Returns a server's answer for the jail: with the jail's id, or empty and marked as truncated if it is too long for the client.
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
