//! Pipes by which the kernel moves bytes from one socket to another, so that they are not copied into the proxy and out
//! again (splice(2)).
//!
//! A tunnel borrows a pipe for as long as the pipe holds bytes, not for as long as the tunnel is open: a few pipes serve
//! many tunnels. Where there is none, bytes are copied.

use crate::sync::lock;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Pipes at a time, with two descriptors each. All processes of a user have full-size buffers for 1024 pipes together
/// (`pipe-user-pages-soft` in proc(5)).
const PIPES_MAX: usize = 32;

/// Empty pipes that are kept for the next tunnel.
const KEPT_MAX: usize = 4;

/// The pipes of one proxy.
#[derive(Default)]
pub(crate) struct Pipes(Mutex<Stock>);

#[derive(Default)]
struct Stock {
    kept: Vec<Arc<Ends>>,
    borrowed: usize,
}

impl Pipes {
    /// Borrows an empty pipe, if one is kept or can be made.
    pub(crate) fn borrow(self: &Arc<Pipes>) -> Option<Pipe> {
        let mut stock = self.stock();
        if stock.borrowed == PIPES_MAX {
            return None;
        }
        let ends = stock.kept.pop().or_else(|| Ends::new().map(Arc::new))?;
        stock.borrowed += 1;
        Some(Pipe {
            ends,
            holds: 0,
            pipes: self.clone(),
        })
    }

    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.stock().kept.len()
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        lock(&self.0)
    }
}

/// A borrowed pipe. When it is dropped it is kept for another tunnel if it is empty, and closed if it is not: no tunnel's
/// bytes come out at another's end.
pub(crate) struct Pipe {
    ends: Arc<Ends>,
    /// How many bytes are in it.
    holds: usize,
    pipes: Arc<Pipes>,
}

impl Pipe {
    pub(crate) fn is_empty(&self) -> bool {
        self.holds == 0
    }

    /// Moves what has arrived at `socket` into the pipe, and returns how much that is. 0 says nothing.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, socket: &TcpStream) -> Poll<io::Result<usize>> {
        ready!(socket.poll_read_ready(cx))?;
        match self.ends.fill(socket) {
            Ok(count) => {
                self.holds += count;
                Poll::Ready(Ok(count))
            }
            // The socket stays marked as readable. A read looks again, and waits if there is nothing: bytes behind
            // urgent data look to the kernel's splice as if there were none, or as if they were the end.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Ready(Ok(0)),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Sends what is in the pipe, or a part of it, and returns how much.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>, socket: &TcpStream) -> Poll<io::Result<usize>> {
        loop {
            ready!(socket.poll_write_ready(cx))?;
            match socket.try_io(Interest::WRITABLE, || self.ends.drain(socket, self.holds)) {
                Ok(count) => {
                    self.holds -= count;
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut stock = self.pipes.stock();
        stock.borrowed -= 1;
        if self.is_empty() && stock.kept.len() < KEPT_MAX {
            stock.kept.push(self.ends.clone());
        }
    }
}

#[cfg(target_os = "linux")]
struct Ends {
    reader: std::os::fd::OwnedFd,
    writer: std::os::fd::OwnedFd,
}

#[cfg(target_os = "linux")]
impl Ends {
    /// More than a pipe holds.
    const FILL_MAX: usize = 1 << 20;

    fn new() -> Option<Ends> {
        use nix::fcntl::OFlag;
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).ok()?;
        Some(Ends { reader, writer })
    }

    fn fill(&self, socket: &TcpStream) -> io::Result<usize> {
        splice(socket, &self.writer, Self::FILL_MAX)
    }

    fn drain(&self, socket: &TcpStream, len: usize) -> io::Result<usize> {
        splice(&self.reader, socket, len)
    }
}

#[cfg(target_os = "linux")]
fn splice(from: impl std::os::fd::AsFd, to: impl std::os::fd::AsFd, len: usize) -> io::Result<usize> {
    use nix::fcntl::SpliceFFlags;
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    Ok(nix::fcntl::splice(from, None, to, None, len, flags)?)
}

/// Other systems have no splice(2), and no pipe is ever made.
#[cfg(not(target_os = "linux"))]
enum Ends {}

#[cfg(not(target_os = "linux"))]
impl Ends {
    fn new() -> Option<Ends> {
        None
    }

    fn fill(&self, _socket: &TcpStream) -> io::Result<usize> {
        match *self {}
    }

    fn drain(&self, _socket: &TcpStream, _len: usize) -> io::Result<usize> {
        match *self {}
    }
}

#[cfg(test)]
pub(in crate::proxy::io) mod tests;
