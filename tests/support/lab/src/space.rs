//! Namespaces as values: made by a thread, held open by descriptors, gone with the last of them.
//!
//! Nothing here has a name on the host, so there is nothing to clean up, even after `kill -9`. Commands are started
//! from a thread that has entered the namespaces, since a child inherits those of the thread that forks it. `ip netns
//! exec` would not do: it mounts a fresh /sys, which hides the cgroup tree.

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace, and perhaps a mount namespace that goes with it.
#[derive(Debug)]
pub struct Space {
    net: File,
    mounts: Option<File>,
}

impl Space {
    /// A new network namespace with nothing but a `lo` that is down.
    pub fn network() -> Result<Space> {
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare the network namespace")?;
            Ok(Space {
                net: File::open("/proc/thread-self/ns/net").context("open the network namespace")?,
                mounts: None,
            })
        })
    }

    /// A new network namespace and a private copy of the mount tree.
    pub fn network_and_mounts() -> Result<Space> {
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
                .context("unshare the network and mount namespaces")?;
            mount(
                None::<&str>,
                "/",
                None::<&str>,
                MsFlags::MS_REC | MsFlags::MS_PRIVATE,
                None::<&str>,
            )
            .context("make the mount tree private")?;
            Ok(Space {
                net: File::open("/proc/thread-self/ns/net").context("open the network namespace")?,
                mounts: Some(File::open("/proc/thread-self/ns/mnt").context("open the mount namespace")?),
            })
        })
    }

    /// Runs `work` on a thread of its own inside the namespaces. Sockets that it makes and processes that it starts
    /// stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_own_thread(|| {
            self.enter()?;
            work()
        })
    }

    /// Moves the calling thread into the namespaces, for good.
    pub fn enter(&self) -> Result<()> {
        setns(&self.net, CloneFlags::CLONE_NEWNET).context("enter the network namespace")?;
        if let Some(mounts) = &self.mounts {
            // A thread that shares its root and working directory with others may not change mount namespace: setns(2).
            unshare(CloneFlags::CLONE_FS).context("stop sharing the working directory")?;
            setns(mounts, CloneFlags::CLONE_NEWNS).context("enter the mount namespace")?;
        }
        Ok(())
    }

    /// A path by which another process of this machine can name the network namespace while this value lives.
    pub fn net_path(&self) -> String {
        use std::os::fd::AsRawFd as _;
        format!("/proc/{}/fd/{}", std::process::id(), self.net.as_raw_fd())
    }
}

/// Feeds `lines` to one `ip -batch -` in the calling thread's namespace.
pub(crate) fn ip_batch(lines: &str) -> Result<()> {
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start ip(8)")?;
    ip.stdin
        .take()
        .context("ip's stdin")?
        .write_all(lines.as_bytes())
        .context("write to ip(8)")?;
    let output = ip.wait_with_output().context("wait for ip(8)")?;
    ensure!(
        output.status.success(),
        "ip -batch failed: {}\n{lines}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Makes interfaces that come later in the calling thread's namespace usable in IPv6 at once, not after a second of
/// duplicate address detection (RFC 4862 section 5.4).
pub(crate) fn skip_address_detection() -> Result<()> {
    std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").context("switch off duplicate address detection")
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
