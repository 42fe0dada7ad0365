//! The sockets on loopback, and the rate of records with a clock of their own.

use super::*;
use crate::net::{Flow, OriginalDst};
use std::net::{Ipv4Addr, SocketAddr};

#[derive(Default)]
struct Kept(Mutex<Vec<Record>>);

impl Sink for Kept {
    fn record(&self, record: Record) {
        self.0.lock().unwrap().push(record);
    }

    fn healthy(&self) -> bool {
        true
    }
}

impl Kept {
    fn reasons(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter_map(|record| record.reason.clone())
            .collect()
    }
}

/// A question for the A record of `a.test`.
const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";

struct Running {
    udp: SocketAddr,
    tcp: SocketAddr,
    kept: Arc<Kept>,
    stop: tokio::sync::oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<io::Result<()>>,
}

/// Says of every client that it is the jail's, or of none.
struct Clients(bool);

impl OriginalDstSource for Clients {
    fn take(&self, client: ClientAddr, _accepted: SockRef<'_>) -> Option<Flow> {
        self.0.then_some(Flow {
            original: OriginalDst(client.0),
            opener: None,
            cgroup: None,
        })
    }
}

fn start() -> Running {
    start_for(Clients(true))
}

fn start_for(clients: Clients) -> Running {
    let udp = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let tcp = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addresses = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let kept = Arc::new(Kept::default());
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let sink: Arc<dyn Sink> = Arc::clone(&kept) as _;
    let ended = tokio::spawn(serve(
        Answers::Synthetic(Arc::new(SyntheticAddresses::new(true))),
        vec![udp],
        vec![tcp],
        Arc::new(clients),
        None,
        sink,
        async {
            let _ = stopped.await;
        },
    ));
    Running {
        udp: addresses.0,
        tcp: addresses.1,
        kept,
        stop,
        ended,
    }
}

async fn ask(stream: &mut TcpStream) -> Vec<u8> {
    stream.write_all(&[&[0, 24], QUESTION].concat()).await.unwrap();
    read_answer(stream).await
}

async fn read_answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn udp_and_tcp_give_the_same_answer_and_stop_when_told() {
    let running = start();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(running.udp).await.unwrap();
    socket.send(QUESTION).await.unwrap();
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).await.unwrap();
    let by_udp = buffer[..length].to_vec();
    assert_eq!(by_udp[..4], *b"\x12\x34\x81\x80");

    let mut stream = TcpStream::connect(running.tcp).await.unwrap();
    assert_eq!(ask(&mut stream).await, by_udp);
    // Two at once: both are answered, on the one connection.
    stream
        .write_all(&[&[0, 24], QUESTION].concat().repeat(2))
        .await
        .unwrap();
    assert_eq!(read_answer(&mut stream).await, by_udp);
    assert_eq!(read_answer(&mut stream).await, by_udp);
    assert!(
        running.kept.reasons().is_empty(),
        "an ordinary question is not recorded"
    );

    running.stop.send(()).unwrap();
    running.ended.await.unwrap().unwrap();
    assert_eq!(
        stream.read(&mut buffer).await.unwrap(),
        0,
        "connections end with the resolver"
    );
}

#[tokio::test]
async fn too_long_is_refused_and_recorded() {
    let running = start();
    let long = [QUESTION, &[0; 1100]].concat();
    let refusal = b"\x12\x34\x81\x81\0\0\0\0\0\0\0\0";

    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.send_to(&long, running.udp).await.unwrap();
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).await.unwrap();
    assert_eq!(buffer[..length], *refusal);

    let mut stream = TcpStream::connect(running.tcp).await.unwrap();
    let length = u16::try_from(long.len()).unwrap();
    stream
        .write_all(&[&length.to_be_bytes(), &long[..]].concat())
        .await
        .unwrap();
    assert_eq!(read_answer(&mut stream).await, *refusal);
    assert_eq!(running.kept.reasons(), ["dns oversize", "dns oversize"]);
}

#[tokio::test]
async fn one_connection_too_many_is_closed() {
    let running = start();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(running.tcp).await.unwrap();
        // Answered: it has its place.
        ask(&mut stream).await;
        held.push(stream);
    }
    let mut refused = TcpStream::connect(running.tcp).await.unwrap();
    assert_eq!(refused.read(&mut [0; 16]).await.unwrap_or(0), 0);
    // The others are still served, and a place that is given up is free again.
    ask(&mut held[0]).await;
    drop(held);
    let mut again = TcpStream::connect(running.tcp).await.unwrap();
    while again.write_all(&[&[0, 24], QUESTION].concat()).await.is_err() || again.read_u16().await.is_err() {
        again = TcpStream::connect(running.tcp).await.unwrap();
    }
}

// Proves on all: D05.
#[test]
fn records_are_few_whatever_the_flood_and_a_full_table_is_told_of_once() {
    let kept = Arc::new(Kept::default());
    let sink: Arc<dyn Sink> = Arc::clone(&kept) as _;
    let recorder = Recorder {
        sink,
        state: Mutex::new((Bucket::new(BURST, PER_SECOND), false)),
    };
    let start = Instant::now();
    let anomaly = |full| Anomaly {
        reason: format!("full {full}"),
        name: Some("x.test".into()),
        full,
    };
    for _ in 0..100 {
        recorder.record(anomaly(false), start);
        recorder.record(anomaly(true), start);
    }
    let reasons = kept.reasons();
    assert_eq!(reasons.iter().filter(|reason| *reason == "full true").count(), 1);
    assert_eq!(reasons.iter().filter(|reason| *reason == "full false").count(), 20);
    recorder.record(anomaly(false), start + Duration::from_secs(1));
    assert_eq!(
        kept.reasons()[21..],
        ["80 more unusual dns questions not recorded", "full false"]
    );
}

// Proves: S18.
#[tokio::test]
async fn a_connection_that_is_not_the_jails_is_closed() {
    let ours = start_for(Clients(true));
    let mut stream = TcpStream::connect(ours.tcp).await.unwrap();
    assert!(!ask(&mut stream).await.is_empty());
    let foreign = start_for(Clients(false));
    let mut stream = TcpStream::connect(foreign.tcp).await.unwrap();
    // A reset or an end, whichever comes first: no answer.
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
}
