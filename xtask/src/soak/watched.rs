//! The processes of an httpjail that runs, and what /proc says of them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use httpjail_lab::Running;

/// The processes of httpjail: the proxy's, and all, the proxy's among them.
pub(super) struct Watched {
    proxy: u32,
    all: Vec<u32>,
}

impl Watched {
    /// The proxy is the child in our PID namespace, init the one with a second number.
    pub(super) fn of(jail: &Running, binary: &Path) -> Result<Watched> {
        let supervisor = jail.pid().as_raw().unsigned_abs();
        let children = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"))?;
        let children: Vec<u32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        let is_ours = |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == binary);
        let is_proxy = |pid: &&u32| field(**pid, "NSpid").is_some_and(|pids| pids.len() == 1);
        let children: Vec<u32> = children.into_iter().filter(is_ours).collect();
        let proxy = *children.iter().find(is_proxy).context("find the proxy's process")?;
        let all = children.into_iter().chain([supervisor]).collect();
        Ok(Watched { proxy, all })
    }

    pub(super) fn descriptors(&self) -> usize {
        let count = |pid: &u32| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        self.all.iter().map(count).sum()
    }

    /// `VmRSS` or `VmHWM` of the proxy, in KiB.
    pub(super) fn memory(&self, name: &str) -> Result<f64> {
        let value = field(self.proxy, name).and_then(|words| words.first()?.parse().ok());
        value.with_context(|| format!("read {name} of the proxy"))
    }

    /// The peak begins again (proc_pid_clear_refs(5)).
    pub(super) fn forget_peak(&self) -> Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.proxy), "5").context("forget the proxy's peak")
    }
}

fn field(pid: u32, name: &str) -> Option<Vec<String>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.split_whitespace().map(str::to_owned).collect())
}
