//! The world's name server: authoritative for everything, with a log of each question.
//!
//! Names under `.test` resolve: those that a test has set to its addresses, `evil.test` to the forbidden server, all
//! others to the allowed one. Any other name is NXDOMAIN. What a jail must not leak in labels shows up in the log.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use crate::{FORBIDDEN_V4, FORBIDDEN_V6, Log, WORLD_V4, WORLD_V6};

/// One question that reached the name server.
#[derive(Debug, Clone)]
pub struct Question {
    /// The name, in lower case, without the last dot.
    pub name: String,
    /// `A`, `AAAA`, `TXT`, ...
    pub kind: String,
    /// Who asked.
    pub peer: SocketAddr,
    /// The server that was asked.
    pub server: SocketAddr,
}

/// The addresses of the names that a test has set.
pub(crate) type Zone = std::sync::Mutex<HashMap<String, Vec<IpAddr>>>;

pub(crate) async fn serve_udp(socket: UdpSocket, zone: Arc<Zone>, log: Log<Question>) {
    let mut buffer = [0; 4096];
    let Ok(server) = socket.local_addr() else { return };
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        if let Ok(reply) = answer(&buffer[..length], (peer, server), &zone, &log) {
            // The asker may be gone: its loss.
            let _ = socket.send_to(&reply, peer).await;
        }
    }
}

pub(crate) async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>, log: Log<Question>) {
    while let Ok((mut stream, peer)) = listener.accept().await {
        let (zone, log) = (Arc::clone(&zone), log.clone());
        tokio::spawn(async move {
            let server = stream.local_addr()?;
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0; usize::from(length)];
                stream.read_exact(&mut query).await?;
                let reply = answer(&query, (peer, server), &zone, &log)?;
                stream.write_u16(u16::try_from(reply.len())?).await?;
                stream.write_all(&reply).await?;
            }
            anyhow::Ok(())
        });
    }
}

fn answer(query: &[u8], (peer, server): (SocketAddr, SocketAddr), zone: &Zone, log: &Log<Question>) -> Result<Vec<u8>> {
    let mut message = Message::from_vec(query)?;
    message.additionals.clear();
    message.edns = None;
    let mut reply = message.into_response();
    reply.metadata.authoritative = true;
    reply.metadata.recursion_available = true;
    for question in reply.queries.clone() {
        let name = question.name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        log.push(Question {
            name: name.clone(),
            kind: question.query_type.to_string(),
            peer,
            server,
        });
        match addresses(&name, zone) {
            None => reply.metadata.response_code = ResponseCode::NXDomain,
            Some(addresses) => {
                reply.answers.extend(
                    addresses
                        .iter()
                        .filter_map(|ip| record(&question.name, question.query_type, *ip)),
                );
            }
        }
    }
    Ok(reply.to_vec()?)
}

fn addresses(name: &str, zone: &Zone) -> Option<Vec<IpAddr>> {
    if let Some(set) = zone.lock().expect("the zone's lock").get(name) {
        return Some(set.clone());
    }
    match name {
        "evil.test" => Some(vec![FORBIDDEN_V4.into(), FORBIDDEN_V6.into()]),
        _ if name.ends_with(".test") => Some(vec![WORLD_V4.into(), WORLD_V6.into()]),
        _ => None,
    }
}

fn record(name: &Name, kind: RecordType, ip: IpAddr) -> Option<Record> {
    let data = match (kind, ip) {
        (RecordType::A, IpAddr::V4(ip)) => RData::A(ip.into()),
        (RecordType::AAAA, IpAddr::V6(ip)) => RData::AAAA(ip.into()),
        _ => return None,
    };
    Some(Record::from_rdata(name.clone(), 1, data))
}
