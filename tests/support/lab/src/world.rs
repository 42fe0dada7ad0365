//! The other end of the cable: one thread in its own network namespace that plays the whole internet.
//!
//! Every address that is not the jailed side's is local there (two routes of type `local` do it), so metadata services,
//! private ranges and arbitrary public addresses all answer, and nothing that is sent to them is lost to the oracle.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::oneshot;

use crate::authority::Authority;
use crate::dns::{self, Question, Zone};
use crate::origin::{self, Origin, Seen};
use crate::raw::{self, RAW_HTTP, RAW_HTTPS, RawRequest};
use crate::space::{Space, ip_batch};
use crate::{FORBIDDEN_V4, FORBIDDEN_V6, Log, WORLD_V4, WORLD_V6};

/// TCP ports that answer with an echo (22 with a banner first) and log what they hear.
const RAW_TCP: [u16; 5] = [22, 25, 853, 5432, 9999];
/// UDP ports that log what they hear. The name server is elsewhere: port 53 of the first address only.
const RAW_UDP: [u16; 3] = [443, 4433, 9999];

/// What one TCP connection to a port that is no web server brought.
#[derive(Debug, Clone)]
pub struct Contact {
    /// The address that was dialled.
    pub local: SocketAddr,
    /// Who dialled.
    pub peer: SocketAddr,
    /// The first bytes, if any came.
    pub bytes: Vec<u8>,
}

/// What the world's servers heard.
#[derive(Debug, Default, Clone)]
pub struct Heard {
    /// Requests at the web servers.
    pub requests: Log<Seen>,
    /// Requests at the strict server of raw HTTP/1, in cleartext or over TLS.
    pub raw: Log<RawRequest>,
    /// Connections at other TCP ports.
    pub contacts: Log<Contact>,
    /// Datagrams at the UDP loggers.
    pub datagrams: Log<Contact>,
    /// Questions at the name server.
    pub questions: Log<Question>,
}

/// The servers; they stop when this is dropped.
pub(crate) struct World {
    pub(crate) heard: Heard,
    pub(crate) zone: Arc<Zone>,
    pub(crate) authority_pem: String,
    pub(crate) origin: Arc<Origin>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Brings up the world's end of the cable.
pub(crate) fn set_up_network() -> Result<()> {
    std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0").context("accept any source address")?;
    ip_batch(
        "link set lo up
         addr add 198.51.100.2/24 dev w0
         addr add 198.51.100.3/24 dev w0
         addr add 198.51.100.4/24 dev w0
         addr add 2001:db8:99::2/64 dev w0 nodad
         addr add 2001:db8:99::3/64 dev w0 nodad
         addr add 2001:db8:99::4/64 dev w0 nodad
         link set w0 up
         route add local 0.0.0.0/0 dev lo table main
         route add local ::/0 dev lo table main",
    )
}

impl World {
    pub(crate) fn start(space: Arc<Space>, git_root: PathBuf) -> Result<World> {
        let authority = Authority::new()?;
        let authority_pem = authority.pem();
        let (heard, zone) = (Heard::default(), Arc::new(Zone::default()));
        let origin = Arc::new(Origin {
            authority,
            log: heard.requests.clone(),
            git_root,
        });
        let (stop, stopped) = oneshot::channel();
        let (report, ready) = mpsc::channel();
        let (served, servers, names) = (Arc::clone(&origin), heard.clone(), Arc::clone(&zone));
        let thread = std::thread::Builder::new()
            .name("world".into())
            .spawn(move || {
                let started = space.enter().and_then(|()| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                    runtime.block_on(async { spawn_servers(served, &servers, names) })?;
                    Ok(runtime)
                });
                match started {
                    Err(error) => drop(report.send(Err(error))),
                    Ok(runtime) => {
                        drop(report.send(Ok(())));
                        runtime.block_on(async { drop(stopped.await) });
                        runtime.shutdown_background();
                    }
                }
            })
            .context("start the world's thread")?;
        ready
            .recv()
            .context("the world's thread ended early")?
            .context("start the world's servers")?;
        Ok(World {
            heard,
            zone,
            authority_pem,
            origin,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed already; nothing is left to undo here.
            let _ = thread.join();
        }
    }
}

fn spawn_servers(origin: Arc<Origin>, heard: &Heard, zone: Arc<Zone>) -> Result<()> {
    for any in [
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    ] {
        let at = |port| SocketAddr::new(any.ip(), port);
        tokio::spawn(origin::serve(listen(at(80))?, false, Arc::clone(&origin)));
        tokio::spawn(origin::serve(listen(at(8080))?, false, Arc::clone(&origin)));
        tokio::spawn(origin::serve(listen(at(443))?, true, Arc::clone(&origin)));
        tokio::spawn(raw::serve(listen(at(RAW_HTTP))?, heard.raw.clone()));
        let served = (listen(at(RAW_HTTPS))?, Arc::clone(&origin), heard.raw.clone());
        tokio::spawn(raw::serve_tls(served.0, served.1, served.2));
        for port in RAW_TCP {
            tokio::spawn(log_contacts(listen(at(port))?, heard.contacts.clone()));
        }
        for port in RAW_UDP {
            tokio::spawn(log_datagrams(datagrams(at(port))?, heard.datagrams.clone()));
        }
    }
    for at in [SocketAddr::from((WORLD_V4, 53)), SocketAddr::from((WORLD_V6, 53))] {
        tokio::spawn(dns::serve_udp(
            datagrams(at)?,
            Arc::clone(&zone),
            heard.questions.clone(),
        ));
        tokio::spawn(dns::serve_tcp(listen(at)?, Arc::clone(&zone), heard.questions.clone()));
    }
    for at in [
        SocketAddr::from((FORBIDDEN_V4, 53)),
        SocketAddr::from((FORBIDDEN_V6, 53)),
    ] {
        tokio::spawn(log_datagrams(datagrams(at)?, heard.datagrams.clone()));
    }
    Ok(())
}

fn listen(at: SocketAddr) -> Result<TcpListener> {
    let socket = bound(at, Type::STREAM, Protocol::TCP)?;
    socket.listen(1024).with_context(|| format!("listen on {at}"))?;
    Ok(TcpListener::from_std(socket.into())?)
}

fn datagrams(at: SocketAddr) -> Result<UdpSocket> {
    Ok(UdpSocket::from_std(bound(at, Type::DGRAM, Protocol::UDP)?.into())?)
}

fn bound(at: SocketAddr, kind: Type, protocol: Protocol) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), kind, Some(protocol)).context("make a server's socket")?;
    if at.is_ipv6() {
        socket.set_only_v6(true).context("keep IPv4 out of an IPv6 socket")?;
    }
    socket.set_reuse_address(true).context("reuse the address")?;
    socket.bind(&at.into()).with_context(|| format!("bind {at}"))?;
    socket.set_nonblocking(true).context("set non-blocking")?;
    Ok(socket)
}

async fn log_contacts(listener: TcpListener, log: Log<Contact>) {
    while let Ok((mut stream, peer)) = listener.accept().await {
        let Ok(local) = stream.local_addr() else { continue };
        let entry = log.push(Contact {
            local,
            peer,
            bytes: Vec::new(),
        });
        let log = log.clone();
        tokio::spawn(async move {
            if local.port() == 22 {
                stream.write_all(b"SSH-2.0-lab\r\n").await?;
            }
            let mut buffer = vec![0; 4096];
            loop {
                let length = stream.read(&mut buffer).await?;
                if length == 0 {
                    return std::io::Result::Ok(());
                }
                log.change(entry, |contact| contact.bytes.extend_from_slice(&buffer[..length]));
                stream.write_all(&buffer[..length]).await?;
            }
        });
    }
}

async fn log_datagrams(socket: UdpSocket, log: Log<Contact>) {
    let Ok(local) = socket.local_addr() else { return };
    let mut buffer = vec![0; 65536];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        log.push(Contact {
            local,
            peer,
            bytes: buffer[..length].to_vec(),
        });
    }
}
