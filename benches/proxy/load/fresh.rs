//! A connection over TLS for each request.

use std::time::Instant;

use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::HandshakeKind;

use crate::http1::{exchange, request};
use crate::{Done, Failed, PATIENCE, Stream, Work, tls};

pub(crate) async fn repeat(work: &Work, connector: &TlsConnector) -> Result<Done, Failed> {
    let request = request(&work.order);
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut resumed = false;
    for _ in 0..4 {
        resumed = timeout(PATIENCE, once(work, connector, &request, &mut buffer)).await??;
    }
    if resumed != (work.order.kind == "resumed") {
        return Err(format!("resumed: {resumed}").into());
    }
    work.pass_gate().await;
    let mut took = Vec::new();
    while work.take() {
        let start = Instant::now();
        timeout(PATIENCE, once(work, connector, &request, &mut buffer)).await??;
        took.push(start.elapsed());
    }
    Ok((took, None))
}

async fn once(work: &Work, connector: &TlsConnector, request: &[u8], buffer: &mut Vec<u8>) -> Result<bool, Failed> {
    let tcp = work.connect().await?;
    let tls = tls::shake_hands(connector, &work.order.host, tcp).await?;
    let resumed = tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
    let mut stream: Stream = Box::new(tls);
    exchange(&mut stream, request, buffer, work.order.bytes).await?;
    Ok(resumed)
}
