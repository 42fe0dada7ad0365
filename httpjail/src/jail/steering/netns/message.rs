//! Netfilter's netlink messages as bytes: attributes, messages, and the batch that nf_tables applies whole or not at
//! all.
//!
//! The numbers are those of `linux/netfilter/nfnetlink.h` and `nf_tables.h`. No crate fits: `rustables`
//! is licensed under the GPL and has no `tproxy` expression, the others link a C library or run the `nft` program
//! (docs/decisions/0008-hand-written-nf-tables-messages.md).

use std::io::{self, Read, Write};

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST};
use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFPROTO_UNSPEC: u8 = 0;
const NFPROTO_INET: u8 = 1;
pub(super) const NFPROTO_NETDEV: u8 = 5;
const NLA_F_NESTED: u16 = 1 << 15;
const NLMSG_ERROR: u16 = 2;
const HEADER_BYTES: usize = 16;

/// What a message asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Table = 0,
    TableGone = 2,
    Chain = 3,
    Rule = 6,
}

/// A list of attributes: each its length, its type, its payload, filled up to four bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn bytes(mut self, kind: u16, payload: &[u8]) -> Self {
        // Everything here is a few dozen bytes; a length that did not fit would be refused by the kernel.
        let length = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(payload);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn text(self, kind: u16, text: &str) -> Self {
        self.bytes(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// Numbers are big-endian in nf_tables, unlike anywhere else in netlink.
    pub(super) fn number(self, kind: u16, number: u32) -> Self {
        self.bytes(kind, &number.to_be_bytes())
    }

    pub(super) fn nested(self, kind: u16, inner: Attributes) -> Self {
        self.bytes(kind | NLA_F_NESTED, &inner.0)
    }
}

/// The attributes in `bytes`: type (without its flags) and payload. Ends at the first that is none.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let head = bytes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        let payload = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    })
}

/// Opens a line to netfilter in the calling thread's network namespace.
///
/// # Errors
/// Those of `socket(2)`.
pub(super) fn open() -> io::Result<Socket> {
    const NETLINK_NETFILTER: i32 = 12;
    let socket = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::RAW,
        Some(Protocol::from(NETLINK_NETFILTER)),
    )?;
    // What is asked is worked off before the call returns (`net/netfilter/nfnetlink.c`): all answers wait, or none come.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Messages on their way to the kernel, and what to call each in an error.
#[derive(Debug, Default)]
pub(super) struct Requests {
    bytes: Vec<u8>,
    names: Vec<String>,
    /// Of the tables.
    family: u8,
}

impl Requests {
    /// A transaction: nf_tables takes all of it or nothing.
    pub(super) fn batch() -> Self {
        Self::batch_of(NFPROTO_INET)
    }

    /// The same for tables of another family.
    pub(super) fn batch_of(family: u8) -> Self {
        let mut batch = Requests {
            family,
            ..Requests::default()
        };
        batch.message(
            "the batch",
            BATCH_BEGIN,
            0,
            NFPROTO_UNSPEC,
            NFNL_SUBSYS_NFTABLES,
            &Attributes::new(),
        );
        batch
    }

    /// Adds what `attributes` describe; `name` is for the error.
    pub(super) fn add(&mut self, name: &str, kind: Kind, attributes: &Attributes) {
        let number = NFNL_SUBSYS_NFTABLES << 8 | kind as u16;
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND;
        self.message(name, number, flags, self.family, 0, attributes);
    }

    /// Has the kernel do it all, or nothing.
    ///
    /// # Errors
    /// The first refusal, with the name of what was refused.
    pub(super) fn commit(mut self) -> io::Result<()> {
        let asked = self.names.len() - 1;
        self.message(
            "the batch",
            BATCH_END,
            0,
            NFPROTO_UNSPEC,
            NFNL_SUBSYS_NFTABLES,
            &Attributes::new(),
        );
        self.ask(&open()?, asked)
    }

    fn ask(&self, mut socket: &Socket, acknowledgements: usize) -> io::Result<()> {
        socket.write_all(&self.bytes)?;
        let mut done = 0;
        let mut buffer = [0; 8192];
        loop {
            match socket.read(&mut buffer) {
                Ok(length) => done += self.count(&buffer[..length])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if done == acknowledgements {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "netfilter acknowledged {done} of {acknowledgements} requests"
        )))
    }

    /// Counts the acknowledgements in an answer.
    fn count(&self, answer: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        for (kind, number, body) in messages(answer) {
            let code = body.first_chunk().map(|code| i32::from_ne_bytes(*code));
            match code.filter(|_| kind == NLMSG_ERROR) {
                Some(0) => done += 1,
                Some(code) => {
                    let name = self.names.get(number).map_or("the batch", String::as_str);
                    return Err(Refused::error(name, code.saturating_neg()));
                }
                None => {}
            }
        }
        Ok(done)
    }

    /// `struct nlmsghdr`, `struct nfgenmsg` (family, version 0, resource), attributes.
    fn message(&mut self, name: &str, kind: u16, flags: u16, family: u8, resource: u16, attributes: &Attributes) {
        let length = u32::try_from(HEADER_BYTES + 4 + attributes.0.len()).unwrap_or(u32::MAX);
        let sequence = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(&attributes.0);
        self.names.push(name.to_owned());
    }
}

/// Sets up a log group of nfnetlink_log, whose messages then come to `socket`.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn configure_log(socket: &Socket, group: u16, attributes: &Attributes) -> io::Result<()> {
    const NFNL_SUBSYS_ULOG: u16 = 4;
    const NFULNL_MSG_CONFIG: u16 = 1;
    let mut request = Requests::default();
    let kind = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG;
    request.message("the log", kind, NLM_F_ACK, NFPROTO_UNSPEC, group, attributes);
    request.ask(socket, 1)
}

/// The messages in a datagram of netlink: type, sequence number, and what follows the header.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, usize, &[u8])> {
    std::iter::from_fn(move || {
        let head = bytes.first_chunk::<HEADER_BYTES>()?;
        let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let body = bytes.get(HEADER_BYTES..word(0))?;
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        bytes = bytes.get(word(0).next_multiple_of(4)..).unwrap_or_default();
        Some((kind, word(8), body))
    })
}

/// What netfilter would not do.
#[derive(Debug, thiserror::Error)]
#[error("netfilter refused {name}: {}", io::Error::from_raw_os_error(*errno))]
pub(super) struct Refused {
    name: String,
    errno: i32,
}

impl Refused {
    /// The kind stays visible, so that the caller can tell a missing right from a missing part.
    fn error(name: &str, errno: i32) -> io::Error {
        let kind = io::Error::from_raw_os_error(errno).kind();
        let name = name.to_owned();
        io::Error::new(kind, Refused { name, errno })
    }
}
