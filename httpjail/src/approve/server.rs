//! The approver process's end of the socket: passes each request that comes to an [`Approver`].

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as Socket;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::approver::Approver;
use super::protocol::{DecisionMessage, QUEUE, RequestMessage, line, write};

/// Answers the requests that come over `socket`, until its other end closes.
///
/// # Errors
/// Fails when the socket fails, and when a message cannot be parsed.
pub(crate) async fn serve(socket: Socket, approver: Arc<dyn Approver>) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let (from, to) = UnixStream::from_std(socket)?.into_split();
    let (lines, queue) = mpsc::channel(QUEUE);
    tokio::select! {
        asked = answer_all(from, approver, lines) => asked,
        () = write(queue, to) => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

async fn answer_all(from: OwnedReadHalf, approver: Arc<dyn Approver>, lines: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    let mut requests = BufReader::new(from).lines();
    // When this function ends, it drops the set and so cancels all requests.
    let mut tasks = JoinSet::new();
    let mut asking = HashMap::new();
    while let Some(text) = requests.next_line().await? {
        while tasks.try_join_next().is_some() {}
        asking.retain(|_, task: &mut AbortHandle| !task.is_finished());
        let RequestMessage { id, request } = serde_json::from_str(&text)?;
        let Some(request) = request else {
            if let Some(task) = asking.remove(&id) {
                task.abort();
            }
            continue;
        };
        let (decision, lines) = (approver.ask(request), lines.clone());
        let task = tasks.spawn(async move {
            let decision = decision.await;
            if let Some(line) = line(&DecisionMessage { id, decision }) {
                // If the other end has closed, the run is over.
                let _ = lines.send(line).await;
            }
        });
        asking.insert(id, task);
    }
    Ok(())
}
