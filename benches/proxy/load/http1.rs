//! HTTP/1.1: one request after the other on a connection that stays.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::{Done, Failed, Order, PATIENCE, Stream, Work, tls};

/// How often a connection is used before the measuring begins.
const WARM_UP: usize = 4;

pub(crate) async fn repeat(work: &Work, connector: &TlsConnector, number: usize) -> Result<Done, Failed> {
    let order = &work.order;
    let tcp = work.connect().await?;
    let mut stream: Stream = match order.kind.as_str() {
        "http1" => Box::new(tcp),
        _ => Box::new(tls::shake_hands(connector, &order.host, tcp).await?),
    };
    let request = request(order);
    let mut buffer = Vec::with_capacity(64 * 1024);
    for _ in 0..WARM_UP {
        timeout(PATIENCE, exchange(&mut stream, &request, &mut buffer, order.bytes)).await??;
    }
    work.pass_gate().await;
    let mut ticks = None;
    if order.rate > 0 {
        let each = Duration::from_secs(order.connections as u64) / order.rate;
        // The connections take turns.
        sleep(each.mul_f64(number as f64 / order.connections as f64)).await;
        let mut clock = interval(each);
        clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks = Some(clock);
    }
    let mut took = Vec::new();
    while work.take() {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let start = Instant::now();
        exchange(&mut stream, &request, &mut buffer, order.bytes).await?;
        took.push(start.elapsed());
    }
    Ok((took, Some(stream)))
}

/// In bytes, as a usual client would write it.
pub(crate) fn request(order: &Order) -> Vec<u8> {
    let (host, path) = (&order.host, &order.path);
    let target = match order.kind.as_str() {
        "http1" if order.ask => format!("http://{host}{path}"),
        _ => path.clone(),
    };
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: load/1\r\nAccept: */*\r\n\r\n").into_bytes()
}

/// One request and its response, whose status and length are looked at.
pub(crate) async fn exchange(
    stream: &mut Stream,
    request: &[u8],
    buffer: &mut Vec<u8>,
    bytes: usize,
) -> Result<(), Failed> {
    stream.write_all(request).await?;
    stream.flush().await?;
    buffer.clear();
    let end = loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the connection ended before the response did".into());
        }
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = std::str::from_utf8(&buffer[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, value)| value.trim().parse::<usize>());
    match (status, length) {
        (Some("200"), Some(Ok(length))) if length == bytes => {}
        _ => return Err(format!("not 200 with {bytes} bytes: {head}").into()),
    }
    while buffer.len() < end + bytes {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the connection ended before the body did".into());
        }
    }
    if buffer.len() > end + bytes {
        return Err("more than one response".into());
    }
    Ok(())
}
