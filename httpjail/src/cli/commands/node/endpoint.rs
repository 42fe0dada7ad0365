//! The process that serves `/metrics` and `/healthz`. It is a user of its own, without any right, and opens nothing: the node has
//! `httpjail metrics` write into a pipe for it, so that the node itself reads nothing of its jails here either.

use std::io::{self, PipeReader, Read as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::figures::Figures;
use crate::failure::Failure;
use crate::jail::process::apart::set_apart;
use crate::jail::process::proxy_user::ProxyUser;
use crate::jail::protocol::channel::{self, IpcChannel, wait_readable};
use crate::jail::termination;
use crate::sync::lock;
use crate::sys::clone::{self, Side};

/// How many clients are served at a time.
const CLIENTS: usize = 16;
/// How long a client may take to ask, and how long it is served.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(20);
/// How long `httpjail metrics` may take.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// No text is longer.
const BYTES_MOST: u64 = 64 << 20;

/// The process asks for figures, with a descriptor for those of the jails.
#[derive(Debug, Serialize, Deserialize)]
struct Ask {}

/// The node's own; those of the jails are being written.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    figures: Figures,
}

/// The process, as the node has it.
pub(super) struct Endpoint {
    pub address: SocketAddr,
    pid: Pid,
    ended: OwnedFd,
    channel: IpcChannel<Answer, Ask>,
    /// Who writes the figures of the jails, and since when.
    writer: Option<(Child, Instant)>,
}

impl Endpoint {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot listen there, or cannot be started.
    pub(super) fn start(address: SocketAddr) -> Result<Endpoint, Failure> {
        let failed = |error: io::Error| Failure::new(format!("cannot serve metrics at {address}: {error}"));
        let listener = TcpListener::bind(address).map_err(failed)?;
        let (ours, theirs) = channel::pair().map_err(failed)?;
        let user = ProxyUser::reserve();
        match clone::fork().map_err(failed)? {
            Side::Parent(pid) => Ok(Endpoint {
                address,
                pid,
                ended: clone::pidfd(pid).map_err(failed)?,
                channel: ours,
                writer: None,
            }),
            Side::Child => clone::live(|| {
                let keep: Vec<RawFd> = [listener.as_raw_fd(), theirs.as_raw_fd()]
                    .into_iter()
                    .chain(user.descriptor())
                    .collect();
                settle(&keep, &user)
                    .and_then(|()| serve(listener, theirs))
                    .map_or(125, |()| 0)
            }),
        }
    }

    /// Returns the descriptor that becomes readable when figures are wanted, or the process has ended.
    pub(super) fn asks(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Answers, if figures are wanted.
    ///
    /// # Errors
    /// When the process has ended.
    pub(super) fn answer(&mut self, figures: impl FnOnce() -> Figures) -> io::Result<()> {
        self.end_writer();
        if !wait_readable(self.channel.as_fd(), Duration::ZERO)? {
            return Ok(());
        }
        let (Ask {}, descriptors) = self.channel.receive_with()?;
        // While one still writes there is no second.
        if let Some(pipe) = descriptors.into_iter().next().filter(|_| self.writer.is_none()) {
            let mut command = Command::new("/proc/self/exe");
            command
                .arg("metrics")
                .env_clear()
                .env("HOME", "/root")
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .stdout(pipe)
                .current_dir("/");
            self.writer = Some((command.spawn()?, Instant::now()));
        }
        self.channel.send(&Answer { figures: figures() })
    }

    fn end_writer(&mut self) {
        if let Some((writer, since)) = &mut self.writer {
            if since.elapsed() > WRITE_LIMIT {
                let _ = writer.kill();
            }
            if !matches!(writer.try_wait(), Ok(None)) {
                self.writer = None;
            }
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.channel.close();
        if let Some((writer, _)) = &mut self.writer {
            let _ = writer.kill().and_then(|()| writer.wait().map(drop));
        }
        if let Err(error) = termination::kill_and_reap("the server of metrics", self.pid, self.ended.as_fd()) {
            tracing::warn!("{error}");
        }
    }
}

/// Gives up all that the process has of the node.
fn settle(keep: &[RawFd], user: &ProxyUser) -> io::Result<()> {
    set_apart(keep)?;
    user.settle()
}

fn serve(listener: TcpListener, channel: IpcChannel<Ask, Answer>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (channel, clients) = (Arc::new(Mutex::new(channel)), Arc::new(Semaphore::new(CLIENTS)));
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let Ok(permit) = clients.clone().acquire_owned().await else {
                return Ok(());
            };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let channel = channel.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, channel.clone()));
                let served = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_LIMIT)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                // A client that goes away is its own affair.
                let _ = tokio::time::timeout(LIMIT, served).await;
                drop(permit);
            });
        }
    })
}

async fn answer(
    request: Request<Incoming>,
    channel: Arc<Mutex<IpcChannel<Ask, Answer>>>,
) -> Result<Response<Full<Bytes>>, http::Error> {
    let told = |status: StatusCode, kind: &str, text: String| {
        Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, kind)
            .body(Full::from(text))
    };
    const PLAIN: &str = "text/plain; charset=utf-8";
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return told(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET\n".to_owned());
    }
    let whole = match request.uri().path() {
        "/metrics" => true,
        "/healthz" => false,
        _ => {
            return told(
                StatusCode::NOT_FOUND,
                PLAIN,
                "there are /metrics and /healthz\n".to_owned(),
            );
        }
    };
    let asked = tokio::task::spawn_blocking(move || ask(&lock(&channel), whole)).await;
    match asked.map_err(io::Error::other).flatten() {
        Ok(text) if whole => told(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text),
        Ok(_) => told(StatusCode::OK, PLAIN, "ok\n".to_owned()),
        Err(error) => told(
            StatusCode::SERVICE_UNAVAILABLE,
            PLAIN,
            format!("the node does not answer: {error}\n"),
        ),
    }
}

/// Asks the node for its figures, and with `whole` for those of its jails.
fn ask(channel: &IpcChannel<Ask, Answer>, whole: bool) -> io::Result<String> {
    if !whole {
        channel.send(&Ask {})?;
        return channel.receive_within(HEAD_LIMIT).map(|_| String::new());
    }
    let (reader, writer) = io::pipe()?;
    channel.send_with(&Ask {}, &[writer.as_raw_fd()])?;
    drop(writer);
    let Answer { figures } = channel.receive_within(HEAD_LIMIT)?;
    Ok(figures.text() + &read(reader)?)
}

fn read(mut pipe: PipeReader) -> io::Result<String> {
    let late = Instant::now() + WRITE_LIMIT;
    let (mut bytes, mut part) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let left = late.saturating_duration_since(Instant::now());
        if !wait_readable(pipe.as_fd(), left)? || bytes.len() as u64 > BYTES_MOST {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match pipe.read(&mut part)? {
            0 => return String::from_utf8(bytes).map_err(io::Error::other),
            length => bytes.extend_from_slice(&part[..length]),
        }
    }
}
