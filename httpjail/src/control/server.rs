//! Serves a control socket: a request and an answer a connection.
//!
//! A client that is slow, says nonsense, or comes a thousand times costs a bounded amount of memory and time, and keeps nobody else
//! from being answered.

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::protocol::{Answer, Ask, Counted, Loaded, REQUEST_MAX, Request, Status, Told, VERSION};
use crate::counts::Counts;

/// How many clients are served at a time; for one more the oldest makes way.
const CLIENTS: usize = 16;
/// How long a client may take to ask, and how long to read its answer.
const LIMIT: Duration = Duration::from_secs(5);
/// How long a reload may take before the client is told that nothing is known of it.
const RELOAD_LIMIT: Duration = Duration::from_secs(25);
/// The pause after a failure of `accept(2)`.
const PAUSE: Duration = Duration::from_millis(100);

/// What becomes of a reload.
pub(crate) type Reloaded = Pin<Box<dyn Future<Output = Result<Loaded, String>> + Send>>;

/// Knows the answers.
pub(crate) trait Answers: Send + Sync {
    /// Returns how the run is.
    fn status(&self) -> Status;
    /// Returns what the run has counted.
    fn counts(&self) -> Counts;
    /// Has the policy file looked at.
    fn reload(&self) -> Reloaded;
}

/// Serves the socket; `owner` and root may ask. Never ends.
///
/// # Errors
/// When the socket cannot be watched.
pub(crate) async fn serve(listener: UnixListener, owner: u32, answers: Arc<dyn Answers>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let mut clients: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if !client
            .peer_cred()
            .is_ok_and(|peer| peer.uid() == owner || peer.uid() == 0)
        {
            continue;
        }
        clients.retain(|client| !client.is_finished());
        if clients.len() >= CLIENTS
            && let Some(oldest) = clients.pop_front()
        {
            oldest.abort();
        }
        let answers = answers.clone();
        let served = tokio::spawn(async move {
            // Whatever went wrong with it, there is nobody to tell.
            let _ = answer(client, answers.as_ref()).await;
        });
        clients.push_back(served.abort_handle());
    }
}

async fn answer(mut client: UnixStream, answers: &dyn Answers) -> io::Result<()> {
    let (reader, mut writer) = client.split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(REQUEST_MAX as u64));
    timeout(LIMIT, reader.read_until(b'\n', &mut line)).await??;
    let told = match parse(&line) {
        Ok(Ask::Status) => Told::Status(Box::new(answers.status())),
        Ok(Ask::Counters) => Told::Counters(Box::new(Counted {
            status: answers.status(),
            counts: answers.counts(),
        })),
        Ok(Ask::Reload) => match timeout(RELOAD_LIMIT, answers.reload()).await {
            Ok(Ok(in_force)) => Told::Reload(in_force),
            Ok(Err(reason)) => Told::Error(reason),
            Err(_) => Told::Error("it is not known yet what became of it".to_owned()),
        },
        Err(reason) => Told::Error(reason),
    };
    let mut line = serde_json::to_vec(&Answer { v: VERSION, told })?;
    line.push(b'\n');
    timeout(LIMIT, writer.write_all(&line)).await?
}

fn parse(line: &[u8]) -> Result<Ask, String> {
    if !line.ends_with(b"\n") {
        return Err(format!("expected one line of at most {REQUEST_MAX} bytes"));
    }
    match serde_json::from_slice(line) {
        Ok(Request { v: VERSION, ask }) => Ok(ask),
        Ok(Request { v, .. }) => Err(format!("expected version {VERSION}, not {v}")),
        Err(error) => Err(format!(
            "expected {{\"v\":{VERSION},\"ask\":\"status\"}} or the like: {error}"
        )),
    }
}
