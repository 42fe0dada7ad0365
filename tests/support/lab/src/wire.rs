//! The wire oracle: every frame that crosses the cable between the jailed side and the world, kept and searchable.
//!
//! A child's word (an errno, an exit status) is no proof that nothing left: a refused call may have sent, a successful
//! one may not have. Frames are. A packet socket in `world` records all of them; before each question a marker is sent
//! through the same cable and awaited, so that an answer covers everything sent before it.

use std::net::UdpSocket;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use memchr::memmem;
use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, socket};

use crate::space::Space;
use crate::{WORLD_V4, canary};

/// Everything that was on the cable.
#[derive(Debug)]
pub struct Wire {
    frames: Arc<Frames>,
    /// Made in `jailside`: what it sends crosses the cable.
    marker: UdpSocket,
}

/// One frame, as the world received or sent it.
#[derive(Debug, Clone)]
pub struct Frame(Vec<u8>);

#[derive(Debug, Default)]
struct Frames {
    list: Mutex<Vec<Frame>>,
    arrived: Condvar,
    deaf: AtomicBool,
}

/// Larger than any frame: veth carries segments of up to 64 KiB that were never split.
const LARGEST_FRAME: usize = 128 * 1024;
/// Room for what arrives while the reader is not scheduled, so that no frame is lost under load.
const RECEIVE_BUFFER: usize = 64 * 1024 * 1024;
const MARKER_PORT: u16 = 9;

impl Wire {
    pub(crate) fn listen(world: &Space, jailside: &Space) -> Result<Wire> {
        let packets = world.run(|| {
            let packets = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::EthAll,
            )
            .context("open a packet socket in the world")?;
            nix::sys::socket::setsockopt(&packets, nix::sys::socket::sockopt::RcvBufForce, &RECEIVE_BUFFER)
                .context("enlarge the packet socket's buffer")?;
            Ok(packets)
        })?;
        let marker = jailside.run(|| UdpSocket::bind("0.0.0.0:0").context("bind the marker socket"))?;
        let frames = Arc::new(Frames::default());
        let sink = Arc::clone(&frames);
        std::thread::Builder::new()
            .name("wire".into())
            .spawn(move || record(&packets, &sink))
            .context("start the recording thread")?;
        Ok(Wire { frames, marker })
    }

    /// Keeps no frame from now on, for runs that would fill the memory and ask nothing. Who asks all the same panics.
    pub fn stop(&self) {
        self.frames.deaf.store(true, Ordering::Relaxed);
    }

    /// Whether `needle` was in any frame, in any layer of it.
    pub fn saw(&self, needle: impl AsRef<[u8]>) -> bool {
        self.count(|frame| frame.contains(needle.as_ref())) > 0
    }

    /// How many frames satisfy `test`.
    pub fn count(&self, test: impl Fn(&Frame) -> bool) -> usize {
        self.settle();
        self.lock().iter().filter(|frame| test(frame)).count()
    }

    /// How many IP packets went to `port` of `protocol` (6 TCP, 17 UDP, 136 UDP-Lite).
    pub fn packets_to(&self, protocol: u8, port: u16) -> usize {
        self.count(|frame| frame.protocol() == Some(protocol) && frame.destination_port() == Some(port))
    }

    /// How many IP packets of `protocol` there were.
    pub fn packets_of(&self, protocol: u8) -> usize {
        self.count(|frame| frame.protocol() == Some(protocol))
    }

    /// Waits until all that was sent before the call has been recorded.
    fn settle(&self) {
        let marker = canary();
        let before = self.lock().len();
        self.marker
            .send_to(marker.as_bytes(), (WORLD_V4, MARKER_PORT))
            .expect("send a marker through the cable");
        let mut searched = before;
        let mut missing = |frames: &mut Vec<Frame>| {
            // Each frame once: a test may make many while we wait.
            let found = frames
                .iter()
                .skip(searched)
                .any(|frame| frame.contains(marker.as_bytes()));
            searched = frames.len();
            !found
        };
        let (_frames, timeout) = self
            .frames
            .arrived
            .wait_timeout_while(self.lock(), Duration::from_secs(20) * crate::patience(), &mut missing)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(
            !timeout.timed_out(),
            "the wire lost its marker: the oracle cannot be trusted"
        );
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Frame>> {
        self.frames.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Frame {
    /// Whether `needle` is in the frame.
    pub fn contains(&self, needle: &[u8]) -> bool {
        memmem::find(&self.0, needle).is_some()
    }

    /// The protocol number of the IP header (for IPv6, of the first header after it).
    pub fn protocol(&self) -> Option<u8> {
        match self.ether_type()? {
            0x0800 => self.0.get(14 + 9).copied(),
            0x86dd => self.0.get(14 + 6).copied(),
            _ => None,
        }
    }

    /// The destination port of a packet whose protocol has ports at the usual place.
    pub fn destination_port(&self) -> Option<u16> {
        let header = match self.ether_type()? {
            0x0800 => usize::from(self.0.get(14)? & 0x0f) * 4,
            0x86dd => 40,
            _ => return None,
        };
        self.be16(14 + header + 2)
    }

    /// The Ethernet type: 0x0800 IPv4, 0x86dd IPv6, 0x0806 ARP.
    pub fn ether_type(&self) -> Option<u16> {
        self.be16(12)
    }

    fn be16(&self, at: usize) -> Option<u16> {
        Some(u16::from_be_bytes([*self.0.get(at)?, *self.0.get(at + 1)?]))
    }
}

/// Records until the process ends: the socket is the namespace's last user in the common case, and frames that nobody
/// can ask about any more cost nothing.
fn record(packets: &OwnedFd, frames: &Frames) {
    let mut buffer = vec![0; LARGEST_FRAME];
    loop {
        let mut read = || -> Result<usize> {
            let (length, _from) = recvfrom::<LinkAddr>(packets.as_raw_fd(), &mut buffer)?;
            ensure!(length <= LARGEST_FRAME, "a frame was cut");
            Ok(length)
        };
        let Ok(length) = read() else { return };
        if frames.deaf.load(Ordering::Relaxed) {
            continue;
        }
        let frame = Frame(buffer.get(..length).unwrap_or_default().to_vec());
        frames.list.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
        frames.arrived.notify_all();
    }
}
