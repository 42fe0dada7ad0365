//! The process that is asked: has an [`Approver`] decide about what comes over the socket.

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

/// The other process's side: has `approver` answer what comes, until the end of the line.
///
/// # Errors
/// Those of the socket, and for what is no question.
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
    // Dropped with this function, and all that is being asked with it.
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
        let (answer, lines) = (approver.ask(request), lines.clone());
        let task = tasks.spawn(async move {
            let answer = answer.await;
            if let Some(line) = line(&DecisionMessage { id, answer }) {
                // Nobody is there to hear it: the run is over.
                let _ = lines.send(line).await;
            }
        });
        asking.insert(id, task);
    }
    Ok(())
}
