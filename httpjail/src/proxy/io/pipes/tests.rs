//! Who gets a pipe, and that no bytes stay in one.

use super::{KEPT_MAX, PIPES_MAX, Pipe, Pipes};
use std::future::poll_fn;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Two ends of a connection.
pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (one, listener.accept().await.unwrap().0)
}

/// Borrows all pipes that there are.
pub(crate) fn all_of(pipes: &Arc<Pipes>) -> Vec<Pipe> {
    std::iter::from_fn(|| pipes.borrow()).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn there_are_so_many_and_few_are_kept() {
    let pipes = Arc::default();
    for _ in 0..2 {
        assert_eq!(all_of(&pipes).len(), PIPES_MAX);
        assert_eq!(pipes.kept(), KEPT_MAX);
    }
}

/// An empty pipe is kept; one with bytes in it is closed, and the next has none.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn bytes_do_not_stay_in_a_pipe() {
    let ((mut sender, from), (to, mut receiver)) = (pair().await, pair().await);
    let pipes = Arc::<Pipes>::default();
    for (word, drained) in [(b"left", false), (b"sent", true)] {
        let mut pipe = pipes.borrow().unwrap();
        sender.write_all(word).await.unwrap();
        assert_eq!(poll_fn(|cx| pipe.poll_fill(cx, &from)).await.unwrap(), 4);
        if drained {
            assert_eq!(poll_fn(|cx| pipe.poll_drain(cx, &to)).await.unwrap(), 4);
        }
        drop(pipe);
        assert_eq!(pipes.kept(), usize::from(drained));
    }
    let mut heard = [0; 4];
    receiver.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"sent");
}
