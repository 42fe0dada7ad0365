//! nf_tables netlink as bytes: attributes, messages, and the batch that the kernel takes whole or not at all.
//!
//! The numbers are those of `linux/netfilter/nfnetlink.h` and `nf_tables.h`. No crate fits: those that speak it link a C
//! library or run the `nft` program, and what is needed here is a table, two chains and a dozen rules.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFPROTO_UNSPEC: u8 = 0;
const NFPROTO_INET: u8 = 1;
const NLA_F_NESTED: u16 = 1 << 15;
const NLMSG_ERROR: u16 = 2;
const HEADER_BYTES: usize = 16;

/// What a message asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Table = 0,
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

/// What is to be made, in one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    names: Vec<String>,
}

impl Batch {
    pub(super) fn new() -> Self {
        let mut batch = Batch::default();
        batch.message(BATCH_BEGIN, 0, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES, &Attributes::new());
        batch.names.push("the batch".into());
        batch
    }

    /// Adds what `attributes` describe; `name` is for the error.
    pub(super) fn add(&mut self, name: impl Into<String>, kind: Kind, attributes: &Attributes) {
        let number = NFNL_SUBSYS_NFTABLES << 8 | kind as u16;
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND;
        self.message(number, flags, NFPROTO_INET, 0, attributes);
        self.names.push(name.into());
    }

    /// Has the kernel do it all, or nothing.
    ///
    /// # Errors
    /// The first refusal, with the name of what was refused.
    pub(super) fn commit(mut self) -> io::Result<()> {
        self.message(BATCH_END, 0, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES, &Attributes::new());
        let socket = Socket::new(NETLINK_NETFILTER)?;
        socket.send_to(&self.bytes, &SocketAddr::new(0, 0), 0)?;
        // The kernel has worked it off before the call returned (`net/netfilter/nfnetlink.c`): all answers wait.
        socket.set_non_blocking(true)?;
        let mut done = 0;
        loop {
            match socket.recv_from_full() {
                Ok((answer, _)) => done += self.read(&answer)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let asked = self.names.len() - 1;
        if done == asked {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "nf_tables acknowledged {done} of {asked} requests"
        )))
    }

    /// Counts the acknowledgements in an answer.
    fn read(&self, mut answer: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(header) = answer.first_chunk::<20>() {
            let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            if kind == NLMSG_ERROR {
                let (number, code) = (word(8) as usize, word(HEADER_BYTES) as i32);
                if code != 0 {
                    let name = self.names.get(number).map_or("the batch", String::as_str);
                    return Err(Refused::error(name, code.saturating_neg()));
                }
                done += 1;
            }
            let length = (word(0) as usize).next_multiple_of(4).max(HEADER_BYTES);
            answer = answer.get(length..).unwrap_or_default();
        }
        Ok(done)
    }

    /// `struct nlmsghdr`, `struct nfgenmsg` (family, version 0, resource), attributes.
    fn message(&mut self, kind: u16, flags: u16, family: u8, resource: u16, attributes: &Attributes) {
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
    }
}

/// What nf_tables would not do.
#[derive(Debug, thiserror::Error)]
#[error("nf_tables refused {name}: {}", io::Error::from_raw_os_error(*errno))]
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
