//! Finds the addresses of a name by the name servers of a container's network.
//!
//! For the host's own network libc does this (`getaddrinfo`), but libc knows the host's servers alone. The name has been judged.
//! What a server answers only says where it leads: the proxy checks each address before it dials it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use super::message::{self, PAYLOAD, Question};
use super::network::Network;
use super::relay::{Configured, Relay, Servers, is_one_host};
use super::resolv_conf::ResolvConf;

/// How many aliases lead to the name that has addresses, at most.
const ALIASES: usize = 16;

/// Asks the name servers of one network.
pub(crate) struct StubResolver {
    relay: Relay,
    conf: ResolvConf,
    families: Families,
}

/// The families in which a network has an address: no other is asked for (as `AI_ADDRCONFIG` has it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Families {
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
}

impl StubResolver {
    /// For a network with this resolv.conf(5). Servers that mean no single host are left out.
    pub(crate) fn new(resolv_conf: &[u8], network: Network, families: Families) -> Self {
        let mut conf = ResolvConf::parse(resolv_conf);
        conf.servers.retain(|server| is_one_host(server.ip()));
        StubResolver {
            relay: Relay::new(Servers::Of(Configured::Fixed(conf.servers.clone())), network),
            conf,
            families,
        }
    }

    /// The servers that it asks.
    pub(crate) fn servers(&self) -> Configured {
        Configured::Fixed(self.conf.servers.clone())
    }

    /// Returns the addresses of `name`. It may take until every server has been tried twice.
    ///
    /// # Errors
    /// When the name does not exist, or no server says.
    pub(crate) async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if name == "localhost" || name.ends_with(".localhost") {
            // RFC 6761, 6.3: it is not asked for.
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        if self.conf.servers.is_empty() {
            return Err(io::Error::other("the resolv.conf of the container names no server"));
        }
        for candidate in candidates(name, &self.conf) {
            let found = self.of_one(&candidate).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "the name does not exist"))
    }

    /// The addresses of exactly this name; none if it does not exist.
    async fn of_one(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let wanted = |family, kind| async move {
            if family {
                self.ask(name, kind).await
            } else {
                Ok(Vec::new())
            }
        };
        let (v6, v4) = tokio::join!(
            wanted(self.families.ipv6, RecordType::AAAA),
            wanted(self.families.ipv4, RecordType::A)
        );
        match (v6, v4) {
            (Ok(v6), Ok(v4)) => Ok([v6, v4].concat()),
            // Some servers say nothing about a type that they do not know.
            (Ok(found), Err(_)) | (Err(_), Ok(found)) if !found.is_empty() => Ok(found),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    async fn ask(&self, name: &str, kind: RecordType) -> io::Result<Vec<IpAddr>> {
        let question = question(name, kind).ok_or_else(|| io::Error::other("not a name that can be asked for"))?;
        match self.relay.ask(&question, &self.conf.servers).await {
            Some((answer, _)) => addresses_in(&answer, &question.query.name),
            None => Err(io::Error::other("no name server of the container's network answered")),
        }
    }
}

/// The names to look for, the best first. A name is itself before it is part of another: only what does not exist is looked for
/// in the domains of the file.
fn candidates(name: &str, conf: &ResolvConf) -> Vec<String> {
    let mut candidates = vec![name.to_owned()];
    if name.matches('.').count() < conf.dots.max(1) {
        candidates.extend(conf.search.iter().map(|domain| format!("{name}.{domain}")));
    }
    candidates
}

fn question(name: &str, kind: RecordType) -> Option<Question> {
    let name = Name::from_ascii(format!("{name}.")).ok()?;
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.queries.push(Query::query(name, kind));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    message.edns = Some(edns);
    message::read(&message.to_vec().ok()?).ok()
}

/// The addresses that an answer gives to `asked`, through aliases.
fn addresses_in(answer: &[u8], asked: &Name) -> io::Result<Vec<IpAddr>> {
    let answer = Message::from_vec(answer).map_err(|_| io::Error::other("the name server's answer is malformed"))?;
    match answer.metadata.response_code {
        ResponseCode::NoError => {}
        ResponseCode::NXDomain => return Ok(Vec::new()),
        code => return Err(io::Error::other(format!("the name server answers: {code}"))),
    }
    let mut name = asked;
    for _ in 0..ALIASES {
        let alias = answer.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(alias) if record.name == *name => Some(&alias.0),
            _ => None,
        });
        match alias {
            Some(alias) => name = alias,
            None => break,
        }
    }
    let of_name = answer.answers.iter().filter(|record| record.name == *name);
    Ok(of_name
        .filter_map(|record| match record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        })
        .collect())
}

#[cfg(test)]
mod tests;
