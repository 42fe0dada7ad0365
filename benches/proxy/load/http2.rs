//! h2: so many streams at a time on one connection, with frames made by hand (RFC 9113) and one request's header block.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::{Done, Failed, Order, PATIENCE, Stream, Work, tls};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;
const REFUSED_STREAM: u8 = 7;
const REFUSED_AT_MOST: usize = 100;
/// Of a stream, and what is given back of the connection's at a time.
const WINDOW: u32 = 1 << 20;

struct Connection {
    stream: Stream,
    received: Vec<u8>,
    /// Frames that have not been sent yet.
    to_send: Vec<u8>,
    /// The block of the first request, and of all after it.
    blocks: [Vec<u8>; 2],
    next: u32,
    open: Vec<Open>,
    /// Data that the connection's window has not been given back yet.
    taken: u32,
    bytes: usize,
    /// Requests that were refused, in all, and such as have not been made again yet.
    refused: usize,
    again: usize,
}

struct Open {
    id: u32,
    start: Instant,
    length: usize,
}

pub(crate) async fn repeat(work: &Work, connector: &TlsConnector) -> Result<Done, Failed> {
    let order = &work.order;
    let tls = tls::shake_hands(connector, &order.host, work.connect().await?).await?;
    let mut connection = Connection::new(Box::new(tls), order);
    let mut warm_up = 4 * order.streams;
    timeout(
        PATIENCE,
        connection.work(order.streams, || {
            warm_up = warm_up.saturating_sub(1);
            warm_up > 0
        }),
    )
    .await??;
    work.pass_gate().await;
    let took = connection.work(order.streams, || work.take()).await?;
    Ok((took, Some(connection.stream)))
}

impl Connection {
    fn new(stream: Stream, order: &Order) -> Connection {
        let mut connection = Connection {
            stream,
            received: Vec::with_capacity(64 * 1024),
            to_send: PREFACE.to_vec(),
            blocks: blocks(order),
            next: 1,
            open: Vec::new(),
            taken: 0,
            bytes: order.bytes,
            refused: 0,
            again: 0,
        };
        // SETTINGS_ENABLE_PUSH 0 and SETTINGS_INITIAL_WINDOW_SIZE.
        let settings = [[0, 2].as_slice(), &0u32.to_be_bytes(), &[0, 4], &WINDOW.to_be_bytes()].concat();
        connection.frame(SETTINGS, 0, 0, &settings);
        connection.frame(WINDOW_UPDATE, 0, 0, &(WINDOW * 16).to_be_bytes());
        connection
    }

    /// Makes requests while `more`, and gives how long each took.
    async fn work(&mut self, streams: usize, mut more: impl FnMut() -> bool) -> Result<Vec<Duration>, Failed> {
        let (mut took, mut wanted) = (Vec::new(), true);
        loop {
            wanted |= self.again > 0;
            while wanted && self.open.len() < streams {
                wanted = self.again > 0 || more();
                self.again = self.again.saturating_sub(1);
                if wanted {
                    self.request();
                }
            }
            if !self.to_send.is_empty() {
                self.stream.write_all(&self.to_send).await?;
                self.stream.flush().await?;
                self.to_send.clear();
            }
            if self.open.is_empty() {
                return Ok(took);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err("the connection ended before the responses did".into());
            }
            self.take_frames(&mut took)?;
        }
    }

    fn request(&mut self) {
        let block = std::mem::take(&mut self.blocks[usize::from(self.next > 1)]);
        self.frame(HEADERS, END_STREAM | END_HEADERS, self.next, &block);
        self.blocks[usize::from(self.next > 1)] = block;
        self.open.push(Open {
            id: self.next,
            start: Instant::now(),
            length: 0,
        });
        self.next += 2;
    }

    fn frame(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        self.to_send
            .extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        self.to_send.extend_from_slice(&[kind, flags]);
        self.to_send.extend_from_slice(&id.to_be_bytes());
        self.to_send.extend_from_slice(payload);
    }

    fn take_frames(&mut self, took: &mut Vec<Duration>) -> Result<(), Failed> {
        let received = std::mem::take(&mut self.received);
        let mut rest = received.as_slice();
        while let Some((head, after)) = rest.split_at_checked(9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some((payload, after)) = after.split_at_checked(length) else {
                break;
            };
            let id = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            self.take_frame(head[3], head[4], id, payload, took)?;
            rest = after;
        }
        let kept = rest.len();
        let start = received.len() - kept;
        self.received = received;
        self.received.copy_within(start.., 0);
        self.received.truncate(kept);
        Ok(())
    }

    fn take_frame(
        &mut self,
        kind: u8,
        flags: u8,
        id: u32,
        payload: &[u8],
        took: &mut Vec<Duration>,
    ) -> Result<(), Failed> {
        let bytes = self.bytes;
        match kind {
            DATA | HEADERS => {
                if flags & (PADDED | PRIORITY) != 0 || (kind == HEADERS && flags & END_HEADERS == 0) {
                    return Err("a frame that this load does not read".into());
                }
                let at = self.open.iter().position(|open| open.id == id);
                let at = at.ok_or("a frame of no stream")?;
                if kind == HEADERS {
                    if !is_ok(payload) {
                        return Err("a status that is not 200".into());
                    }
                } else {
                    self.open[at].length += payload.len();
                    self.taken += payload.len() as u32;
                }
                if flags & END_STREAM != 0 {
                    let open = self.open.swap_remove(at);
                    if open.length != bytes {
                        return Err(format!("{} bytes, not {bytes}", open.length).into());
                    }
                    took.push(open.start.elapsed());
                }
                if self.taken >= WINDOW {
                    let taken = std::mem::take(&mut self.taken);
                    self.frame(WINDOW_UPDATE, 0, 0, &taken.to_be_bytes());
                }
            }
            SETTINGS if flags & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => self.frame(PING, ACK, 0, payload),
            // Nothing was done about it: it may be asked for again (RFC 9113 section 8.7).
            RST_STREAM if payload == [0, 0, 0, REFUSED_STREAM] && self.refused < REFUSED_AT_MOST => {
                self.open.retain(|open| open.id != id);
                self.refused += 1;
                self.again += 1;
            }
            RST_STREAM => return Err(format!("stream {id} was reset: {payload:?}").into()),
            GOAWAY => return Err(format!("GOAWAY: {payload:?}").into()),
            _ => {}
        }
        Ok(())
    }
}

/// Whether a header block begins with `:status 200`, after changes of the table's size (RFC 7541 section 6.3).
fn is_ok(mut block: &[u8]) -> bool {
    while let [first, rest @ ..] = block
        && first & 0xe0 == 0x20
    {
        block = rest;
        if first & 0x1f == 0x1f {
            let last = block.iter().position(|byte| byte & 0x80 == 0).unwrap_or(0);
            block = &block[last + 1..];
        }
    }
    // The eighth entry of the static table.
    block.first() == Some(&0x88)
}

/// GET of the order's URL: first with entries for the peer's table, then with nothing but these.
fn blocks(order: &Order) -> [Vec<u8>; 2] {
    // :method GET, :scheme https; then literals with indexing: :authority, :path, accept.
    let mut first = vec![0x82, 0x87];
    for (name, value) in [(0x41, order.host.as_str()), (0x44, &order.path), (0x53, "*/*")] {
        first.push(name);
        first.push(u8::try_from(value.len()).expect("a short value"));
        first.extend_from_slice(value.as_bytes());
    }
    [first, vec![0x82, 0x87, 0x80 | 64, 0x80 | 63, 0x80 | 62]]
}
