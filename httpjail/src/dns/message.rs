//! Parses one question and makes its answer, without sockets, without a clock, with the table of names as its only state.
//!
//! Parsing is strict, because the jail chooses every byte: one question, empty sections where a question needs none, no trailing
//! bytes. hickory encodes the answer. An answer has at most two short records, so it is never truncated.

use super::synthetic::SyntheticAddresses;
use crate::net::{Host, NameSource};
use hickory_proto::op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A question longer than this is refused unread. A name is 255 bytes at most, and clients pad to a few hundred.
pub(super) const LONGEST: usize = 1024;

/// How long clients may keep an answer, in seconds. A synthetic address never changes its name, so any number would do.
const TTL: u32 = 60;

/// How many additional records a question may have: an OPT record, and some for future use.
const MOST_ADDITIONALS: u16 = 4;

/// The largest UDP message that the resolver can receive (RFC 6891, 6.2.3).
pub(super) const PAYLOAD: u16 = 1232;

/// Firefox asks for this name before it uses its own resolver. NXDOMAIN tells it not to (support.mozilla.org, "Canary domain -
/// use-application-dns.net").
const FIREFOX_CANARY: &str = "use-application-dns.net";

/// The answer to one datagram or TCP message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The bytes to send back, or `None` if there must be no answer.
    pub reply: Option<Vec<u8>>,
    /// What was unusual about the question, for the log.
    pub anomaly: Option<Anomaly>,
}

/// What is unusual about a question, so that it gets a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Anomaly {
    /// A short stable phrase.
    pub reason: String,
    /// The name that was asked for, if it could be parsed: raw bytes of the jail, lossily decoded.
    pub name: Option<String>,
    /// The table of names is full. This is recorded once, without a rate limit.
    pub full: bool,
}

/// Answers the message `bytes` from the jail. Never panics.
pub(crate) fn answer(bytes: &[u8], names: &SyntheticAddresses) -> Answer {
    match read(bytes) {
        Ok(question) => resolve(&question.query, names, question.reply),
        Err(answer) => answer,
    }
}

/// Refuses the message `bytes` from the jail (`--dns off`).
pub(super) fn refuse(bytes: &[u8]) -> Answer {
    match read(bytes) {
        Ok(question) => {
            let anomaly = Anomaly::new("dns is off", Some(&question.query.name));
            question.reply.refuse(ResponseCode::Refused, anomaly)
        }
        Err(answer) => answer,
    }
}

/// A parsed question, and the beginning of its answer.
pub(super) struct Question {
    pub(super) query: Query,
    /// Name, type and class, byte for byte as in the message.
    pub(super) bytes: Vec<u8>,
    pub(super) edns: Option<Edns>,
    reply: Reply,
}

impl Question {
    /// Returns the id and the flags that the answer repeats.
    pub(super) fn metadata(&self) -> &Metadata {
        &self.reply.message.metadata
    }

    /// Returns the name with dots, lossily decoded.
    pub(super) fn name(&self) -> String {
        dotted(&self.query.name)
    }

    /// Returns an answer without records.
    pub(super) fn refused(&self, code: ResponseCode, truncated: bool) -> Option<Vec<u8>> {
        let mut message = self.reply.message.clone();
        message.metadata.truncation = truncated;
        message.metadata.response_code = code;
        message.to_vec().ok()
    }
}

/// Parses the question in the message `bytes`. On an error, returns the answer to it.
pub(super) fn read(bytes: &[u8]) -> Result<Question, Answer> {
    let mut decoder = BinDecoder::new(bytes);
    let Ok(header) = Header::read(&mut decoder) else {
        return Err(headless(bytes));
    };
    if header.message_type != MessageType::Query {
        // Answering an answer could go on forever.
        return Err(Answer {
            reply: None,
            anomaly: Some(Anomaly::new("dns response", None)),
        });
    }
    let mut reply = Reply::to(&header);
    if bytes.len() > LONGEST {
        return Err(reply.refuse(ResponseCode::FormErr, Anomaly::new("dns oversize", None)));
    }
    if header.op_code != OpCode::Query {
        return Err(reply.refuse(ResponseCode::NotImp, Anomaly::new("dns opcode", None)));
    }
    let start = decoder.index();
    let Some((query, edns, end)) = read_question(&header, decoder, bytes.len()) else {
        return Err(reply.refuse(ResponseCode::FormErr, Anomaly::new("dns malformed", None)));
    };
    reply.message.queries.push(query.clone());
    reply.edns(edns.as_ref());
    // RFC 6891, 6.1.3: answer with the version that is supported.
    if edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Err(reply.end(ResponseCode::BADVERS, None));
    }
    Ok(Question {
        query,
        bytes: bytes.get(start..end).unwrap_or_default().to_vec(),
        edns,
        reply,
    })
}

/// Answers a message that is shorter than a header, if it has an id.
fn headless(bytes: &[u8]) -> Answer {
    let anomaly = Some(Anomaly::new("dns malformed", None));
    match bytes {
        // Bit 7 of the third byte is QR. A message that may be an answer gets none.
        [_, _, flags, ..] if flags & 0x80 != 0 => Answer { reply: None, anomaly },
        [high, low, ..] => {
            let message = Message::error_msg(u16::from_be_bytes([*high, *low]), OpCode::Query, ResponseCode::FormErr);
            Answer {
                reply: message.to_vec().ok(),
                anomaly,
            }
        }
        _ => Answer { reply: None, anomaly },
    }
}

/// Returns the only question of a message, its OPT record, and the end of the question, if the message contains nothing else.
fn read_question(header: &Header, mut decoder: BinDecoder<'_>, length: usize) -> Option<(Query, Option<Edns>, usize)> {
    let counts = header.counts;
    // RFC 9619: never more than one question. Check the counts first, because hickory would allocate for each record.
    if counts.queries != 1 || counts.answers != 0 || counts.authorities != 0 || counts.additionals > MOST_ADDITIONALS {
        return None;
    }
    let start = decoder.index();
    let query = Query::read(&mut decoder).ok()?;
    // A name in the first question has nothing to point back to. Without pointers the echo is byte for byte the question.
    let name_length = 1 + query.name.iter().map(|label| 1 + label.len()).sum::<usize>();
    let end = decoder.index();
    if end - start != name_length + 4 {
        return None;
    }
    let additionals = usize::from(counts.additionals);
    let (_, edns, _) = Message::read_records(&mut decoder, additionals, true, OpCode::Query).ok()?;
    (decoder.index() == length).then_some((query, edns, end))
}

fn resolve(query: &Query, names: &SyntheticAddresses, mut reply: Reply) -> Answer {
    if query.query_class != DNSClass::IN {
        return reply.end(
            ResponseCode::Refused,
            Some(Anomaly::new("dns class", Some(&query.name))),
        );
    }
    match query.query_type {
        RecordType::A | RecordType::AAAA => {}
        RecordType::PTR => return reverse(query, names, reply),
        // Browsers and curl ask for these with every address, and connect without an answer.
        RecordType::HTTPS | RecordType::SVCB => return reply.end(ResponseCode::NoError, None),
        other => {
            let reason = match other {
                RecordType::Unknown(number) => format!("dns type {number}"),
                known => format!("dns type {known}"),
            };
            return reply.end(ResponseCode::NoError, Some(Anomaly::new(&reason, Some(&query.name))));
        }
    }
    let wants_v4 = query.query_type == RecordType::A;
    let Some(name) = host_name(&query.name) else {
        return reply.end(
            ResponseCode::NXDomain,
            Some(Anomaly::new("dns not a host name", Some(&query.name))),
        );
    };
    let (v4, v6) = if name == "localhost" || name.ends_with(".localhost") {
        // RFC 6761, 6.3
        (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
    } else if name == FIREFOX_CANARY {
        return reply.end(ResponseCode::NXDomain, None);
    } else {
        match names.addresses_of(&name) {
            Ok(addresses) => addresses,
            Err(full) => {
                let anomaly = Anomaly {
                    full: true,
                    ..Anomaly::new(&full.to_string(), Some(&query.name))
                };
                return reply.end(ResponseCode::ServFail, Some(anomaly));
            }
        }
    };
    match (wants_v4, names.ipv6()) {
        (true, _) => reply.add(&query.name, RData::A(A(v4))),
        (false, true) => reply.add(&query.name, RData::AAAA(AAAA(v6))),
        (false, false) => {}
    }
    reply.end(ResponseCode::NoError, None)
}

/// Answers PTR questions for synthetic addresses and for localhost.
fn reverse(query: &Query, names: &SyntheticAddresses, mut reply: Reply) -> Answer {
    let address = match query.name.parse_arpa_name() {
        Ok(net) if net.prefix_len() == net.max_prefix_len() => net.addr(),
        _ => return reply.end(ResponseCode::NXDomain, None),
    };
    let name = if address == IpAddr::V4(Ipv4Addr::LOCALHOST) || address == IpAddr::V6(Ipv6Addr::LOCALHOST) {
        Some("localhost".to_owned())
    } else {
        match names.name_of(address) {
            Some(Host::Name(name)) => Some(name),
            _ => None,
        }
    };
    // `from_ascii` interprets backslash escapes, but a host name contains none.
    match name.and_then(|name| Name::from_ascii(name + ".").ok()) {
        Some(name) => {
            reply.add(&query.name, RData::PTR(PTR(name)));
            reply.end(ResponseCode::NoError, None)
        }
        None => reply.end(ResponseCode::NXDomain, None),
    }
}

/// Returns the canonical spelling of a host name, or `None` if it is not one, or is an address literal.
fn host_name(name: &Name) -> Option<String> {
    let mut text = String::new();
    for label in name.iter() {
        // Check each label: a dot inside a label must not be read as two labels.
        if !label
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(std::str::from_utf8(label).ok()?);
    }
    match Host::parse(&text) {
        Ok(Host::Name(name)) => Some(name),
        Ok(Host::V4(_) | Host::V6(_)) | Err(_) => None,
    }
}

impl Anomaly {
    fn new(reason: &str, name: Option<&Name>) -> Anomaly {
        Anomaly {
            reason: reason.to_owned(),
            name: name.map(dotted),
            full: false,
        }
    }
}

fn dotted(name: &Name) -> String {
    let labels: Vec<_> = name.iter().map(String::from_utf8_lossy).collect();
    labels.join(".")
}

/// An answer that is being built.
struct Reply {
    message: Message,
}

impl Reply {
    fn to(header: &Header) -> Reply {
        let mut message = Message::response(header.id, header.op_code);
        message.metadata = Metadata::response_from_request(&header.metadata);
        // Without RA, glibc treats an empty answer as a lame server's and asks another (res_send.c, "referred query").
        message.metadata.recursion_available = true;
        Reply { message }
    }

    /// Answers an OPT record with one (RFC 6891, 6.1.1).
    fn edns(&mut self, asked: Option<&Edns>) {
        if asked.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD);
            self.message.edns = Some(edns);
        }
    }

    fn add(&mut self, name: &Name, data: RData) {
        self.message.add_answer(Record::from_rdata(name.clone(), TTL, data));
    }

    fn refuse(self, code: ResponseCode, anomaly: Anomaly) -> Answer {
        self.end(code, Some(anomaly))
    }

    fn end(mut self, code: ResponseCode, anomaly: Option<Anomaly>) -> Answer {
        self.message.metadata.response_code = code;
        Answer {
            reply: self.message.to_vec().ok(),
            anomaly,
        }
    }
}
