//! The load: reads a line of `KEY=VALUE` words from its input, does what it says, and prints figures.
//!
//! It prints `warm` when all connections stand and have been used, waits for a line, and prints `REQUESTS SECONDS P50 P99` (the
//! times in microseconds) at the end. It fails when one response is not as it must be. It speaks HTTP/1.1 and h2 itself, with one
//! request in bytes and a look at what of a response tells status and length: the less the load does, the more of its processor
//! is left to the origin. It does not check certificates, which is the proxies' work.

mod bulk;
mod fresh;
mod http1;
mod http2;
mod tls;

use std::error::Error;
use std::io::Write as _;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::time::timeout;

type Failed = Box<dyn Error + Send + Sync>;

/// A connection, with TLS or without.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}
type Stream = Box<dyn Duplex>;
/// How long each request took, and the connection: it ends only when all has been measured.
type Done = (Vec<Duration>, Option<Stream>);

const PATIENCE: Duration = Duration::from_secs(20);

/// What is to be done.
struct Order {
    /// `http1`, `https1`, `h2`; `fresh` or `resumed` (a connection over TLS for each request); `down`, `up` or `events` (of the
    /// endpoint).
    kind: String,
    connections: usize,
    /// Of each connection over h2.
    streams: usize,
    /// All together.
    requests: i64,
    /// A second; 0 is as many as there can be.
    rate: u32,
    /// No new request after so many seconds.
    seconds: f64,
    /// What the body of a response must have; for `events`, their number.
    bytes: usize,
    path: String,
    /// The origin: `origin.test:9443`.
    host: String,
    /// Where to connect to.
    to: String,
    /// Whether a forward proxy is there, which is to be asked with CONNECT or an absolute URL.
    ask: bool,
}

/// What all connections share while they work.
struct Work {
    order: Order,
    /// Requests that nobody has begun yet.
    left: AtomicI64,
    until: std::sync::OnceLock<Instant>,
    /// Passed once when all are warm, and once to begin.
    gate: Barrier,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    // Nothing else runs between two loads, so that the blocking read is no harm.
    let mut held = Vec::new();
    while let Some(line) = read_line()? {
        held.clear();
        match load(&line, &mut held).await {
            Ok(figures) => println!("{figures}"),
            Err(error) => println!("failed: {error}"),
        }
    }
    Ok(())
}

fn read_line() -> Result<Option<String>, Failed> {
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line)?;
    Ok((read > 0).then_some(line))
}

async fn load(line: &str, held: &mut Vec<Stream>) -> Result<String, Failed> {
    let order = Order::parse(line)?;
    let connections = order.connections;
    let work = Arc::new(Work {
        left: AtomicI64::new(order.requests),
        until: std::sync::OnceLock::new(),
        gate: Barrier::new(connections + 1),
        order,
    });
    let tls = tls::connector(work.order.kind == "h2", work.order.kind == "resumed");
    let mut tasks = Vec::new();
    for number in 0..connections {
        let (work, tls) = (work.clone(), tls.clone());
        tasks.push(tokio::spawn(async move {
            match work.order.kind.as_str() {
                "h2" => http2::repeat(&work, &tls).await,
                "fresh" | "resumed" => fresh::repeat(&work, &tls).await,
                "down" | "up" | "events" => bulk::work(&work, &tls).await,
                _ => http1::repeat(&work, &tls, number).await,
            }
        }));
        if number % 16 == 15 {
            // Not all handshakes at once: a backlog may be short.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // One that fails would be waited for in vain.
    tokio::select! {
        _ = work.gate.wait() => {}
        failed = first_failure(&mut tasks) => return Err(failed),
    }
    println!("warm");
    std::io::stdout().flush()?;
    read_line()?;
    let start = Instant::now();
    let _ = work.until.set(start + Duration::from_secs_f64(work.order.seconds));
    work.gate.wait().await;
    let mut took = Vec::new();
    for task in tasks {
        let (mut more, stream) = task.await??;
        took.append(&mut more);
        held.extend(stream);
    }
    let seconds = start.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share: f64| {
        took.get((took.len() as f64 * share) as usize)
            .map_or(0.0, |took| took.as_secs_f64() * 1e6)
    };
    Ok(format!("{} {seconds:.6} {:.1} {:.1}", took.len(), at(0.5), at(0.99)))
}

/// Ends when a task does before its time.
async fn first_failure(tasks: &mut [tokio::task::JoinHandle<Result<Done, Failed>>]) -> Failed {
    loop {
        for task in &mut *tasks {
            if task.is_finished() {
                return match task.await {
                    Ok(Err(failed)) => failed,
                    Ok(Ok(_)) => "a connection ended before it began".into(),
                    Err(failed) => failed.into(),
                };
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Order {
    fn parse(line: &str) -> Result<Order, Failed> {
        let text = |key: &str| {
            let mut words = line.split_whitespace().filter_map(|word| word.split_once('='));
            let found = words
                .find(|(known, _)| *known == key)
                .map(|(_, value)| value.to_owned());
            found.ok_or_else(|| Failed::from(format!("no {key} in the order")))
        };
        fn number<N: FromStr<Err: Error + Send + Sync + 'static>>(text: String) -> Result<N, Failed> {
            Ok(text.parse()?)
        }
        Ok(Order {
            kind: text("kind")?,
            connections: number(text("connections")?)?,
            streams: number(text("streams")?)?,
            requests: number(text("requests")?)?,
            rate: number(text("rate")?)?,
            seconds: number(text("seconds")?)?,
            bytes: number(text("bytes")?)?,
            path: text("path")?,
            host: text("host")?,
            to: text("to")?,
            ask: number(text("ask")?)?,
        })
    }
}

impl Work {
    /// Whether there is one more request to make.
    fn take(&self) -> bool {
        self.left.fetch_sub(1, Ordering::Relaxed) > 0 && self.until.get().is_none_or(|until| Instant::now() < *until)
    }

    /// Waits until all connections are warm, and until the measuring begins.
    async fn pass_gate(&self) {
        self.gate.wait().await;
        self.gate.wait().await;
    }

    /// A connection to where the order says, through the proxy, without TLS.
    async fn connect(&self) -> Result<TcpStream, Failed> {
        let order = &self.order;
        let mut stream = timeout(PATIENCE, TcpStream::connect(&order.to)).await??;
        stream.set_nodelay(true)?;
        if !order.ask || order.kind == "http1" {
            return Ok(stream);
        }
        let host = &order.host;
        let ask = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(ask.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(timeout(PATIENCE, stream.read_u8()).await??);
        }
        if !answer.starts_with(b"HTTP/1.1 200") && !answer.starts_with(b"HTTP/1.0 200") {
            return Err(format!("CONNECT: {}", String::from_utf8_lossy(&answer)).into());
        }
        Ok(stream)
    }
}
