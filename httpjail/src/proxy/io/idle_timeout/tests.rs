//! Bytes that the kernel moves count as moving, and wait for memory like those that are read.

use super::IdleTimeoutIo;
use crate::proxy::io::boxed::Io;
use crate::proxy::io::pipes::Pipes;
use crate::proxy::io::pipes::tests::pair;
use crate::proxy::limits::Limits;
use crate::proxy::overload::clients::ConnectedClients;
use crate::proxy::overload::memory::Memory;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use tokio::io::AsyncWriteExt;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_the_kernel_moves_moves() {
    for room in [true, false] {
        let (mut far, near) = pair().await;
        far.write_all(b"bytes").await.unwrap();
        near.readable().await.unwrap();
        let limits = Limits::default();
        let registration = Arc::new(ConnectedClients::new(&limits).enter(false));
        ALLOCATED.store(0, Ordering::SeqCst);
        let gate = Memory::new(|| ALLOCATED.load(Ordering::SeqCst), 1000).gate();
        ALLOCATED.store(if room { 0 } else { 1000 }, Ordering::SeqCst);
        let mut near = IdleTimeoutIo::new(near, limits.stall, registration, gate);
        let pipes = Arc::<Pipes>::default();
        let mut pipe = pipes.borrow().unwrap();
        let filled = poll_fn(|cx| Poll::Ready(near.poll_fill(cx, &mut pipe))).await;
        assert_eq!(filled.is_ready(), room);
        assert_eq!(std::mem::take(&mut near.moved), room);
        if room {
            assert_eq!(poll_fn(|cx| near.poll_drain(cx, &mut pipe)).await.unwrap(), 5);
            assert!(std::mem::take(&mut near.moved));
            // Nothing has come since.
            let filled = poll_fn(|cx| Poll::Ready(near.poll_fill(cx, &mut pipe))).await;
            assert!(matches!(filled, Poll::Pending | Poll::Ready(Ok(0))));
            assert!(!near.moved);
        }
    }
}
