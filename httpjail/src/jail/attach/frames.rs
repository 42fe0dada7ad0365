//! The frames of an attachment's network namespace: closed with the cgroup, and opened with it.
//!
//! What the programs do not see ([`crate::jail::steering::netns::frames`]) leaves by a device. Where the processes have a network
//! namespace of their own, its devices pass nothing but what httpjail's own sockets send. That holds for whoever else is in that
//! namespace, too: a process there could pass on what it is given. The rules stay when httpjail is killed, as the pins do.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::net::if_::if_nameindex;
use nix::unistd::Pid;

use super::target::Target;
use crate::failure::Failure;
use crate::jail::sandbox::network::{self, FramePass};
use crate::jail::steering::netns::frames;
use crate::net::Inbound;

/// Where engines keep network namespaces that have no process just now.
const KEPT: [&str; 2] = ["/run/netns", "/run/docker/netns"];
/// `RTMGRP_LINK` of `linux/rtnetlink.h`: devices that come and go.
const LINKS: u32 = 1;

/// Closes the devices of the network that this process has of its own, but for what has the pass.
///
/// # Errors
/// Where netfilter lacks what is needed, and a process could write frames itself.
pub(super) fn close(target: &Target, process: Pid, pass: FramePass) -> Result<Option<Frames>, Failure> {
    match Frames::close(process, target.id(), pass) {
        Ok(closed) => Ok(Some(closed)),
        Err(error) if !target.may_write_frames() => {
            tracing::info!(%error, "the devices stay open: no process may write frames");
            Ok(None)
        }
        Err(error) => Err(Failure {
            hint: Some("start it without CAP_NET_RAW, CAP_NET_ADMIN and CAP_SYS_ADMIN (--cap-drop)".into()),
            ..Failure::new(format!(
                "a process in {} may write frames itself, and the devices of its network cannot be closed to that: {error}",
                target.path().display()
            ))
        }),
    }
}

/// A network namespace whose devices are closed.
pub(super) struct Frames {
    namespace: File,
    table: String,
    pass: FramePass,
    /// Who may connect from outside.
    peers: RefCell<Vec<Inbound>>,
    /// By number and name: one that is made anew has a new number.
    devices: RefCell<Vec<(u32, String)>>,
    /// Readable when a device comes or goes.
    links: Socket,
}

impl Frames {
    /// Closes the devices of the network namespace of the process `network`, for the cgroup of that id.
    ///
    /// # Errors
    /// Where netfilter lacks what is needed.
    fn close(network: Pid, id: u64, pass: FramePass) -> io::Result<Frames> {
        let namespace = File::open(format!("/proc/{network}/ns/net"))?;
        // Before the devices are listed, so that none is missed.
        let links = network::within_namespace(&namespace, || {
            let mut links = Socket::new(NETLINK_ROUTE)?;
            links.bind(&SocketAddr::new(0, LINKS))?;
            links.set_non_blocking(true)?;
            Ok(links)
        })?;
        let closed = Frames {
            namespace,
            table: table(id),
            pass,
            peers: RefCell::default(),
            devices: RefCell::default(),
            links,
        };
        closed.renew()?;
        Ok(closed)
    }

    /// Returns what httpjail's own sockets must have to pass.
    pub(super) fn pass(&self) -> FramePass {
        self.pass
    }

    /// Opens the devices for what is answered to these peers.
    ///
    /// # Errors
    /// Those of netfilter.
    pub(super) fn let_in(&self, peers: &[Inbound]) -> io::Result<()> {
        if peers.is_empty() {
            return Ok(());
        }
        self.peers.replace(peers.to_vec());
        self.devices.take();
        self.renew()
    }

    /// Closes devices that are new.
    ///
    /// # Errors
    /// Those of netfilter.
    pub(super) fn renew(&self) -> io::Result<()> {
        loop {
            match self.links.recv_from_full() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Some were lost: all are listed below.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
        let mut known = self.devices.borrow_mut();
        network::within_namespace(&self.namespace, || {
            let devices = devices()?;
            if devices != *known {
                let names: Vec<String> = devices.iter().map(|(_, name)| name.clone()).collect();
                frames::close(&self.table, &names, self.pass, &self.peers.borrow())?;
                *known = devices;
            }
            Ok(())
        })
    }
}

impl AsFd for Frames {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.links.as_fd()
    }
}

/// Returns the inode number of the network namespace of that process, unless it is this host's.
pub(super) fn own(network: Option<Pid>) -> Option<u64> {
    let inode = |pid: &str| {
        fs::metadata(format!("/proc/{pid}/ns/net"))
            .ok()
            .map(|found| found.ino())
    };
    let found = inode(&network?.to_string())?;
    (Some(found) != inode("1")).then_some(found)
}

/// Opens the devices of the network namespace with this inode number, for the cgroup of that id. If it has no process and no
/// name any more, it is gone, and the rules with it.
///
/// # Errors
/// Those of netfilter.
pub(super) fn open(namespace: u64, id: u64) -> io::Result<()> {
    let Some(found) = find(namespace) else {
        return Ok(());
    };
    match network::within_namespace(&found, || frames::open(&table(id))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io::Error::other(format!(
            "the devices of the network namespace {namespace}: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Returns the processes in that network namespace.
pub(super) fn residents(namespace: u64) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let inside = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let found = fs::metadata(entry.path().join("ns/net")).ok()?;
        (found.ino() == namespace).then_some(Pid::from_raw(pid))
    });
    inside.collect()
}

fn find(namespace: u64) -> Option<File> {
    let of_processes = residents(namespace)
        .into_iter()
        .map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net")));
    let kept = KEPT
        .iter()
        .flat_map(|directory| fs::read_dir(directory).into_iter().flatten().flatten());
    let opened = of_processes
        .chain(kept.map(|entry| entry.path()))
        .filter_map(|path| File::open(path).ok());
    let mut opened = opened.filter(|file| file.metadata().is_ok_and(|found| found.ino() == namespace));
    opened.next()
}

/// Returns the devices but loopback, which leads nowhere.
fn devices() -> io::Result<Vec<(u32, String)>> {
    let listed = if_nameindex()?;
    let led = listed.iter().filter(|device| device.index() != network::LOOPBACK_INDEX);
    Ok(led
        .map(|device| (device.index(), device.name().to_string_lossy().into_owned()))
        .collect())
}

fn table(id: u64) -> String {
    format!("httpjail-{id}")
}
