//! The threads of the jail's init that make the jail's calls: as many as there are waiting calls, up to a limit.
//!
//! The thread that takes a call makes it. First it ensures that another thread waits for the next call, so a slow
//! connection delays no other. At the limit the last thread makes no call that would wait, so that it is soon free
//! again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::Builder;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::handler::Handler;
use super::shared::Shared;
use crate::sys::clone;
use crate::sys::notification::Call;

/// How many connections of the jail may wait at once (for a listener that is slow to accept). Above that, a connection that
/// would wait fails with EAGAIN. Each has a thread with a small stack.
const MOST: usize = 2048;
/// How many idle threads wait for calls.
const SPARE: usize = 2;
/// Bytes of stack. The threads call little.
const STACK: usize = 256 * 1024;

#[derive(Debug)]
struct Pool {
    shared: Shared,
    /// How many threads there are.
    all: AtomicUsize,
    /// How many of them wait for a call.
    idle: AtomicUsize,
}

/// Starts the first thread; it has the caller's capabilities and signal mask, and so have all others.
///
/// # Errors
/// What kept it from getting ready.
pub(super) fn start(shared: Shared) -> io::Result<()> {
    let pool = Arc::new(Pool {
        shared,
        all: AtomicUsize::new(1),
        idle: AtomicUsize::new(1),
    });
    let (tell, told) = sync_channel(1);
    begin(&pool, Some(tell))?;
    told.recv().map_err(io::Error::other)?
}

/// Starts one more thread, which is counted already.
fn begin(pool: &Arc<Pool>, tell: Option<SyncSender<io::Result<()>>>) -> io::Result<()> {
    let own = Arc::clone(pool);
    let life = move || {
        let lived = catch_unwind(AssertUnwindSafe(|| live(&own, tell)));
        if lived.is_err() {
            // Its call would never be answered, so the jail ends.
            clone::live(|| 125);
        }
    };
    Builder::new()
        .name("httpjail-unix".into())
        .stack_size(STACK)
        .spawn(life)?;
    Ok(())
}

fn live(pool: &Arc<Pool>, tell: Option<SyncSender<io::Result<()>>>) {
    let handler = Handler::new(&pool.shared);
    let ready = handler
        .as_ref()
        .map(drop)
        .map_err(|error| io::Error::other(error.to_string()));
    if let Some(tell) = tell {
        // A process that no longer listens is about to end.
        let _ = tell.send(ready);
    }
    if let Ok(mut handler) = handler {
        while let Some(call) = next(pool, &mut handler) {
            let last = pool.idle.fetch_sub(1, Ordering::SeqCst) == 1;
            let alone = last && !reinforce(pool);
            handler.serve(&call, !alone);
            if pool.idle.fetch_add(1, Ordering::SeqCst) >= SPARE {
                break;
            }
        }
    }
    pool.idle.fetch_sub(1, Ordering::SeqCst);
    pool.all.fetch_sub(1, Ordering::SeqCst);
}

/// Ensures that a thread waits for the next call. Returns false if none can.
fn reinforce(pool: &Arc<Pool>) -> bool {
    if pool.all.fetch_add(1, Ordering::SeqCst) < MOST {
        pool.idle.fetch_add(1, Ordering::SeqCst);
        if begin(pool, None).is_ok() {
            return true;
        }
        pool.idle.fetch_sub(1, Ordering::SeqCst);
    }
    pool.all.fetch_sub(1, Ordering::SeqCst);
    false
}

/// Returns the next call, or `None` if there will be none.
fn next(pool: &Pool, handler: &mut Handler<'_>) -> Option<Call> {
    loop {
        match pool.shared.listener.receive() {
            Ok(call) => return Some(call),
            Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => handler.rest(),
            Err(_) if is_over(pool.shared.listener.as_fd()) => return None,
            Err(_) => {}
        }
    }
}

/// Waits for a call. Returns true if no process is left that could make one.
fn is_over(listener: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(listener, PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) => polled[0]
            .revents()
            .is_some_and(|events| events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR)),
        Err(error) => error != Errno::EINTR,
    }
}

/// Answers on this thread until `until` can be read.
///
/// # Errors
/// Those of getting ready, and of `poll(2)`.
pub(super) fn serve_until(shared: &Shared, until: BorrowedFd<'_>) -> io::Result<()> {
    let mut handler = Handler::new(shared)?;
    loop {
        let mut polled = [
            PollFd::new(until, PollFlags::POLLIN),
            PollFd::new(shared.listener.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut polled, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            done => done?,
        };
        if polled[0].any().unwrap_or(true) {
            return Ok(());
        }
        if let Ok(call) = shared.listener.receive() {
            handler.serve(&call, true);
        }
    }
}
