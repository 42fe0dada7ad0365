//! Informational answers (1xx) that wait to be written to the client.
//!
//! hyper's server does not pass on what an upstream sends before its answer, so over HTTP/1 the proxy writes it itself,
//! between hyper's answers. Over HTTP/2 hyper has no way to write it, and these answers end here, though a proxy ought
//! to pass them on. Only hints are lost. An upstream's `100 Continue` starts an upload that waits for it.

use crate::sync::lock;
use http::Version;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Waker};

/// What is to be written to the client before the answer to its request.
#[derive(Default)]
pub(crate) struct InformationalQueue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// Which request of the connection is being answered; what belongs to an earlier one comes too late.
    request: u64,
    open: bool,
    heads: VecDeque<Vec<u8>>,
    writer: Option<Waker>,
}

/// How many bytes of heads may wait to be written.
const WAITING_MAX: usize = 64 * 1024;

impl InformationalQueue {
    /// Notes that a request begins.
    pub(crate) fn open(&self, version: Version) {
        let mut waiting = self.lock();
        waiting.request += 1;
        // A client of 1.0 takes the first head that comes for the answer.
        waiting.open = version == Version::HTTP_11;
        waiting.heads.clear();
    }

    /// Notes that its answer begins, right after what has come so far.
    pub(crate) fn close(&self) {
        self.lock().open = false;
    }

    /// Takes the next head to write. If there is none, `cx` is woken when one comes.
    pub(crate) fn take(&self, cx: &Context<'_>) -> Option<Vec<u8>> {
        let mut waiting = self.lock();
        let next = waiting.heads.pop_front();
        if next.is_none() && waiting.open {
            match &mut waiting.writer {
                Some(writer) => writer.clone_from(cx.waker()),
                writer => *writer = Some(cx.waker().clone()),
            }
        }
        next
    }

    pub(crate) fn put(&self, request: u64, head: Vec<u8>) {
        let mut waiting = self.lock();
        let held: usize = waiting.heads.iter().map(Vec::len).sum();
        if waiting.open && waiting.request == request && held + head.len() <= WAITING_MAX {
            waiting.heads.push_back(head);
            if let Some(writer) = waiting.writer.take() {
                writer.wake();
            }
        }
    }

    pub(crate) fn current(&self) -> u64 {
        self.lock().request
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.0)
    }
}
