//! Tunnels between sockets: all bytes arrive, the counts are exact, each side may end first, and pipes come back.

use super::{COPY_MAX, Direction, MUCH, relay};
use crate::proxy::io::boxed::Io;
use crate::proxy::io::byte_counts::ByteCounts;
use crate::proxy::io::idle_timeout::IdleTimeoutIo;
use crate::proxy::io::pipes::tests::{all_of, pair};
use crate::proxy::io::pipes::{Pipe, Pipes};
use crate::proxy::io::prefixed::PrefixedIo;
use crate::proxy::limits::Limits;
use crate::proxy::overload::clients::ConnectedClients;
use crate::proxy::overload::memory::Memory;
use socket2::SockRef;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A tunnel, with the sockets at its far ends.
struct Tunnel {
    client: TcpStream,
    server: TcpStream,
    counts: Arc<ByteCounts>,
    relayed: JoinHandle<io::Result<()>>,
}

impl Tunnel {
    /// One from whose client `hello` was read before.
    async fn after(hello: &[u8], pipes: &Arc<Pipes>) -> Tunnel {
        let (client, near) = pair().await;
        let (mut far, server) = pair().await;
        let limits = Limits::default();
        let registration = Arc::new(ConnectedClients::new(&limits).enter(false));
        let gate = Memory::new(|| 0, limits.memory).gate();
        let near = IdleTimeoutIo::new(near, limits.stall, registration, gate);
        let mut near = PrefixedIo::new(hello.to_vec(), near);
        let counts = Arc::new(ByteCounts::default());
        let (pipes, counted) = (pipes.clone(), counts.clone());
        let relayed = tokio::spawn(async move { relay(&mut near, &mut far, &counted, Some(&pipes)).await });
        Tunnel {
            client,
            server,
            counts,
            relayed,
        }
    }

    async fn ends_well(self) -> (u64, u64) {
        self.relayed.await.unwrap().unwrap();
        (self.counts.sent(), self.counts.received())
    }
}

/// Bytes of which no two parts look alike.
fn text(len: u32, seed: u32) -> Vec<u8> {
    (0..len)
        .map(|at| ((at ^ seed).wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// Sends `bytes` and no more.
async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
}

/// Reads until the other side sends no more.
async fn read(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// Each side sends all it has and says so, and the other one answers after that.
#[tokio::test]
async fn every_byte_arrives_and_is_counted() {
    let (hello, long, longer) = (text(150_000, 0), text(3_000_001, 1), text(5_000_003, 2));
    for (free, client_first) in [(true, true), (true, false), (false, true), (false, false)] {
        let pipes = Arc::default();
        let taken = if free { Vec::new() } else { all_of(&pipes) };
        let mut tunnel = Tunnel::after(&hello, &pipes).await;
        let client = async {
            if client_first {
                send(&mut tunnel.client, &long).await;
            }
            let heard = read(&mut tunnel.client).await;
            if !client_first {
                send(&mut tunnel.client, &long).await;
            }
            heard
        };
        let server = async {
            if !client_first {
                send(&mut tunnel.server, &longer).await;
            }
            let heard = read(&mut tunnel.server).await;
            if client_first {
                send(&mut tunnel.server, &longer).await;
            }
            heard
        };
        let (client_heard, server_heard) = tokio::join!(client, server);
        assert!(client_heard == longer, "{free} {client_first}");
        assert!(server_heard == [&hello[..], &long].concat(), "{free} {client_first}");
        let counted = ((hello.len() + long.len()) as u64, longer.len() as u64);
        assert_eq!(tunnel.ends_well().await, counted, "{free} {client_first}");
        // Pipes were used if there were any, and are kept now.
        assert_eq!(pipes.kept() > 0, free && cfg!(target_os = "linux"));
        let lost = 32 - taken.len() - all_of(&pipes).len();
        assert!(
            !cfg!(target_os = "linux") || lost == 0,
            "{lost} pipes did not come back"
        );
    }
}

/// What brings little is copied.
#[tokio::test]
async fn small_messages_take_no_pipe() {
    let pipes = Arc::default();
    let mut tunnel = Tunnel::after(b"", &pipes).await;
    let (message, mut heard) = (text(1000, 3), [0; 1000]);
    for _ in 0..200 {
        tunnel.client.write_all(&message).await.unwrap();
        tunnel.server.read_exact(&mut heard).await.unwrap();
        tunnel.server.write_all(&heard).await.unwrap();
        tunnel.client.read_exact(&mut heard).await.unwrap();
    }
    assert!(heard[..] == message);
    drop((tunnel.client, tunnel.server));
    tunnel.relayed.await.unwrap().unwrap();
    assert_eq!((tunnel.counts.sent(), tunnel.counts.received()), (200_000, 200_000));
    assert_eq!(pipes.kept(), 0);
}

/// The kernel's splice sees no bytes behind urgent data, and says that this is the end once the sender has closed.
#[tokio::test]
async fn urgent_data_is_not_the_end() {
    let pipes = Arc::default();
    let mut tunnel = Tunnel::after(b"", &pipes).await;
    let (before, after) = (text(1_000_000, 4), text(100_000, 5));
    let mut heard = vec![0; before.len()];
    let (sent, arrived) = tokio::join!(tunnel.client.write_all(&before), tunnel.server.read_exact(&mut heard));
    sent.unwrap();
    arrived.unwrap();
    assert!(heard == before);
    SockRef::from(&tunnel.client).send_out_of_band(b"!").unwrap();
    send(&mut tunnel.client, &after).await;
    assert!(read(&mut tunnel.server).await == after);
    tunnel.server.shutdown().await.unwrap();
    assert_eq!(tunnel.ends_well().await, (1_100_000, 0));
}

/// A client that resets its connection in the middle of much ends the tunnel as cut short.
#[tokio::test]
async fn a_reset_cuts_it_short() {
    let pipes = Arc::default();
    let mut tunnel = Tunnel::after(b"", &pipes).await;
    let mut server = tunnel.server;
    let endless = tokio::spawn(async move {
        let piece = text(1 << 20, 6);
        while server.write_all(&piece).await.is_ok() {}
    });
    tunnel.client.read_exact(&mut vec![0; 4 << 20]).await.unwrap();
    tunnel.client.set_zero_linger().unwrap();
    drop(tunnel.client);
    assert!(tunnel.relayed.await.unwrap().is_err());
    assert!(tunnel.counts.received() >= 4 << 20);
    endless.await.unwrap();
    #[cfg(target_os = "linux")]
    assert_eq!(all_of(&pipes).len(), 32);
}

/// One end of a tunnel that reads pieces of these sizes, and takes so many bytes before it makes the writer wait.
#[derive(Default)]
struct End {
    pieces: VecDeque<usize>,
    room: usize,
    taken: usize,
    /// What the tunnel has read of one end and not written to the other.
    held: Arc<AtomicUsize>,
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(piece) = self.pieces.pop_front() else {
            return Poll::Pending;
        };
        buf.put_slice(&vec![b'x'; piece]);
        self.held.fetch_add(piece, Ordering::SeqCst);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = bytes.len().min(self.room);
        if count == 0 {
            return Poll::Pending;
        }
        (self.room, self.taken) = (self.room - count, self.taken + count);
        self.held.fetch_sub(count, Ordering::SeqCst);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Io for End {
    fn poll_fill(&mut self, _: &mut Context<'_>, _: &mut Pipe) -> Poll<io::Result<usize>> {
        assert_eq!(self.held.load(Ordering::SeqCst), 0, "bytes would be overtaken");
        Poll::Ready(Ok(0))
    }
}

/// While bytes that were copied wait for the writer, those after them are copied too.
#[test]
fn what_is_copied_is_not_overtaken() {
    let (pipes, held) = (Arc::default(), Arc::<AtomicUsize>::default());
    let mut reader = End {
        pieces: [COPY_MAX; 2 * MUCH / COPY_MAX].into_iter().chain([5, 6]).collect(),
        held: held.clone(),
        ..End::default()
    };
    let mut writer = End {
        room: 2 * MUCH,
        held,
        ..End::default()
    };
    let mut direction = Direction::new(Some(&pipes));
    let mut cx = Context::from_waker(Waker::noop());
    for (room, taken) in [(0, 2 * MUCH), (0, 2 * MUCH), (11, 2 * MUCH + 11)] {
        writer.room += room;
        let polled = direction.poll(&mut cx, &mut reader, &mut writer, |_| {}, |_| {});
        assert!(polled.is_pending());
        assert_eq!(writer.taken, taken);
    }
    assert!(reader.pieces.is_empty());
}
