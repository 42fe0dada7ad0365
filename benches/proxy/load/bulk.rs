//! Much in one exchange: a body down or up, or a stream of events.

use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::{Done, Failed, PATIENCE, Stream, Work, tls};

const CHUNK: usize = 64 * 1024;
/// `data: `, twenty digits, and an empty line.
const EVENT: usize = 28;

pub(crate) async fn work(work: &Work, connector: &TlsConnector) -> Result<Done, Failed> {
    let order = &work.order;
    let tcp = work.connect().await?;
    let mut stream: Stream = Box::new(tls::shake_hands(connector, &order.host, tcp).await?);
    // The connection to the origin, too, is there before the measuring begins.
    head(&mut stream, &format!("GET /0 HTTP/1.1\r\nHost: {}\r\n\r\n", order.host)).await?;
    work.pass_gate().await;
    let mut took = Vec::new();
    while work.take() {
        let start = Instant::now();
        match order.kind.as_str() {
            "down" => down(&mut stream, work).await?,
            "up" => up(&mut stream, work).await?,
            _ => {
                took.append(&mut events(&mut stream, work).await?);
                continue;
            }
        }
        took.push(start.elapsed());
    }
    Ok((took, Some(stream)))
}

async fn down(stream: &mut Stream, work: &Work) -> Result<(), Failed> {
    let (host, bytes) = (&work.order.host, work.order.bytes);
    let mut here = head(
        stream,
        &format!("GET /down HTTP/1.1\r\nHost: {host}\r\nX-Bytes: {bytes}\r\n\r\n"),
    )
    .await?
    .len();
    let mut chunk = vec![0; CHUNK];
    while here < bytes {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Err("the connection ended before the body did".into());
        }
        here += read;
    }
    if here > bytes {
        return Err("more than the body".into());
    }
    Ok(())
}

async fn up(stream: &mut Stream, work: &Work) -> Result<(), Failed> {
    let (host, bytes) = (&work.order.host, work.order.bytes);
    let request = format!("PUT /up HTTP/1.1\r\nHost: {host}\r\nContent-Length: {bytes}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let chunk = vec![b'x'; CHUNK];
    let mut left = bytes;
    while left > 0 {
        left -= stream.write(&chunk[..left.min(CHUNK)]).await?;
    }
    head(stream, "").await?;
    Ok(())
}

/// How long each event was under way.
async fn events(stream: &mut Stream, work: &Work) -> Result<Vec<Duration>, Failed> {
    let (host, count) = (&work.order.host, work.order.bytes);
    let request = format!("GET /events HTTP/1.1\r\nHost: {host}\r\nX-Bytes: {count}\r\n\r\n");
    let mut received = head(stream, &request).await?;
    let mut took = Vec::with_capacity(count);
    while took.len() < count {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let whole = received.len() / EVENT * EVENT;
        for event in received.drain(..whole).collect::<Vec<u8>>().chunks(EVENT) {
            let sent: u64 = std::str::from_utf8(&event[6..26])?.parse()?;
            took.push(now.saturating_sub(Duration::from_nanos(sent)));
        }
        if took.len() < count && timeout(PATIENCE, stream.read_buf(&mut received)).await?? == 0 {
            return Err("the connection ended before the events did".into());
        }
    }
    Ok(took)
}

/// Sends a request, and reads the head of a response, which is 200; gives what has come of its body.
async fn head(stream: &mut Stream, request: &str) -> Result<Vec<u8>, Failed> {
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut received = Vec::with_capacity(CHUNK);
    loop {
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            if !received.starts_with(b"HTTP/1.1 200 ") {
                return Err(String::from_utf8_lossy(&received[..end]).into());
            }
            return Ok(received.split_off(end + 4));
        }
        if timeout(PATIENCE, stream.read_buf(&mut received)).await?? == 0 {
            return Err("the connection ended before the response did".into());
        }
    }
}
